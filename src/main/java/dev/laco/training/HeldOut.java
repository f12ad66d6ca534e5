package dev.laco.training;

import static java.util.stream.Collectors.groupingBy;
import static java.util.stream.Collectors.mapping;
import static java.util.stream.Collectors.toList;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.report.TrainingMeasurement.Distance;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The text that is held out. The original runs over a batch of it once, when the batch is first
 * measured: its last hidden states, and the hidden states in front of the first trained layer, stay
 * in memory.
 */
final class HeldOut implements AutoCloseable {
  private final CausalLm original;
  private final CausalLm student;
  private final Passes passes;
  private final List<List<FitText.Chunk>> parts;
  private final TensorArena arena;
  private final List<Batch> batches = new ArrayList<>();
  private final List<List<OfDomain>> untrained = new ArrayList<>();

  /**
   * A part of the text that runs at once.
   *
   * @param domains of the sequences
   * @param shared hidden states in front of the first trained layer, {@code [T, d]}
   * @param reference the original's last hidden states, {@code [T, d]}
   * @param predicted tokens that have another one in front
   * @param originalNll of the original, nats, the sum of these tokens
   */
  private record Batch(
      TokenBatch tokens,
      List<String> domains,
      Tensor shared,
      Tensor reference,
      long predicted,
      double originalNll) {}

  /**
   * @param student the trained model
   * @param parts of the text that run at once
   */
  HeldOut(CausalLm original, CausalLm student, Passes passes, List<List<FitText.Chunk>> parts) {
    this.original = original;
    this.student = student;
    this.passes = passes;
    this.parts = parts;
    this.arena = passes.backend().arena();
  }

  /** Bytes of the hidden states of a text. */
  static long bytes(List<FitText.Chunk> chunks, long width) {
    return 2 * width * Float.BYTES * FitText.tokens(chunks);
  }

  /**
   * Runs the original over the first batches where it has not yet.
   *
   * @param first the number of batches
   */
  void prepare(int first) {
    while (batches.size() < count(first)) {
      List<FitText.Chunk> together = parts.get(batches.size());
      PackedSequences sequences =
          PackedSequences.of(together.stream().map(FitText.Chunk::ids).toList());
      TokenBatch tokens = passes.batch(sequences);
      Tensor shared = arena.allocate(DType.F32, sequences.size(), passes.config().hiddenSize());
      Tensor reference = arena.allocate(DType.F32, sequences.size(), passes.config().hiddenSize());
      passes.teach(tokens, shared, reference);
      batches.add(
          new Batch(
              tokens,
              together.stream().map(FitText.Chunk::domain).toList(),
              shared,
              reference,
              sequences.size() - sequences.sequences(),
              Arrays.stream(NextTokens.nll(original, reference, tokens)).sum()));
    }
  }

  private List<Batch> prepared(int first) {
    prepare(first);
    return batches.subList(0, count(first));
  }

  private int count(int first) {
    return Math.min(first, parts.size());
  }

  /**
   * Mean negative log-likelihood of the tokens of the first batches in the original, nats.
   *
   * @param first the number of batches
   */
  double originalNll(int first) {
    double nll = 0;
    long predicted = 0;
    for (Batch batch : prepared(first)) {
      nll += batch.originalNll;
      predicted += batch.predicted;
    }
    return nll / Math.max(1, predicted);
  }

  /**
   * Measures the trained model as it is now, on each domain of the first batches.
   *
   * @param first the number of batches
   */
  SortedMap<String, Distance> measure(int first) {
    return byDomain(prepared(first).stream().flatMap(batch -> distances(batch).stream()).toList());
  }

  /**
   * Measures the model as it is before it is trained, on each domain of the first batches. A batch
   * is measured once.
   *
   * @param first the number of batches
   */
  SortedMap<String, Distance> untrained(int first) {
    List<Batch> prepared = prepared(first);
    while (untrained.size() < prepared.size()) {
      untrained.add(distances(prepared.get(untrained.size())));
    }
    return byDomain(untrained.stream().limit(first).flatMap(List::stream).toList());
  }

  /** The trained model's distance from the original on a sequence. */
  private record OfDomain(String domain, Distance distance) {}

  private static SortedMap<String, Distance> byDomain(List<OfDomain> measured) {
    SortedMap<String, Distance> distances = new TreeMap<>();
    measured.stream()
        .collect(groupingBy(OfDomain::domain, mapping(OfDomain::distance, toList())))
        .forEach((domain, parts) -> distances.put(domain, Distance.of(parts)));
    return distances;
  }

  private List<OfDomain> distances(Batch batch) {
    passes.backend().copy(batch.shared, passes.shared(batch.shared.rows()));
    Tensor hidden = passes.learn(batch.tokens);
    double[] divergences = NextTokens.kl(student, batch.reference, hidden, batch.tokens);
    double[] nll = NextTokens.nll(student, hidden, batch.tokens);
    PackedSequences sequences = batch.tokens.sequences();
    List<OfDomain> distances = new ArrayList<>();
    for (int s = 0; s < sequences.sequences(); s++) {
      int from = sequences.offsets()[s];
      int to = sequences.offsets()[s + 1];
      int length = to - from;
      distances.add(
          new OfDomain(
              batch.domains.get(s),
              new Distance(
                  length,
                  length - 1,
                  Arrays.stream(divergences, from, to).sum() / length,
                  Arrays.stream(nll, from, to).sum() / Math.max(1, length - 1))));
    }
    return distances;
  }

  @Override
  public void close() {
    batches.forEach(batch -> batch.tokens.close());
    arena.close();
  }
}
