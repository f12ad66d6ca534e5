package dev.laco.training;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.report.TrainingMeasurement;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The text that is held out, as the original sees it: its last hidden states, and the hidden states
 * in front of the first trained layer. They are computed once.
 */
final class HeldOut implements AutoCloseable {
  private final TensorArena arena;
  private final List<Batch> batches = new ArrayList<>();
  private double originalNll;

  /**
   * A part of the text that runs at once.
   *
   * @param domains of the sequences
   * @param shared hidden states in front of the first trained layer, {@code [T, d]}
   * @param reference the original's last hidden states, {@code [T, d]}
   */
  private record Batch(TokenBatch tokens, List<String> domains, Tensor shared, Tensor reference) {}

  /** Runs the original over the text. */
  HeldOut(CausalLm original, Passes passes, List<FitText.Chunk> chunks, int batchTokens) {
    arena = passes.backend().arena();
    try {
      run(original, passes, chunks, batchTokens);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private void run(CausalLm original, Passes passes, List<FitText.Chunk> chunks, int batchTokens) {
    long predicted = 0;
    for (List<FitText.Chunk> together : DistillationText.parts(chunks, batchTokens)) {
      PackedSequences sequences =
          PackedSequences.of(together.stream().map(FitText.Chunk::ids).toList());
      TokenBatch tokens = passes.batch(sequences);
      Tensor shared = arena.allocate(DType.F32, sequences.size(), passes.width());
      Tensor reference = arena.allocate(DType.F32, sequences.size(), passes.width());
      passes.teach(tokens, shared, reference);
      List<String> domains = together.stream().map(FitText.Chunk::domain).toList();
      batches.add(new Batch(tokens, domains, shared, reference));
      predicted += sequences.size() - sequences.sequences();
      originalNll += Arrays.stream(NextTokens.nll(original, reference, tokens)).sum();
    }
    originalNll /= Math.max(1, predicted);
  }

  /** Mean negative log-likelihood of the text's tokens in the original, nats. */
  double originalNll() {
    return originalNll;
  }

  /** Bytes of the hidden states of a text. */
  static long bytes(List<FitText.Chunk> chunks, long width) {
    return 2 * width * Float.BYTES * FitText.tokens(chunks);
  }

  /** Measures the trained model as it is now, on all of the text and on each of its domains. */
  SortedMap<String, TrainingMeasurement.Distance> measure(Passes passes, CausalLm student) {
    SortedMap<String, Sums> byDomain = new TreeMap<>();
    batches.forEach(batch -> add(passes, student, batch, byDomain));
    SortedMap<String, TrainingMeasurement.Distance> distances = new TreeMap<>();
    byDomain.forEach((domain, sums) -> distances.put(domain, sums.distance()));
    return distances;
  }

  /** How far the trained model as it is now is from the original, on the first batches. */
  TrainingMeasurement.Distance distance(Passes passes, CausalLm student, int first) {
    SortedMap<String, Sums> byDomain = new TreeMap<>();
    batches.stream().limit(first).forEach(batch -> add(passes, student, batch, byDomain));
    return TrainingMeasurement.Distance.of(byDomain.values().stream().map(Sums::distance).toList());
  }

  /** Sums over the tokens of a domain. */
  private static final class Sums {
    private double divergence;
    private double nll;
    private long tokens;
    private long predicted;

    private TrainingMeasurement.Distance distance() {
      return new TrainingMeasurement.Distance(
          tokens, predicted, divergence / tokens, nll / Math.max(1, predicted));
    }
  }

  private static void add(
      Passes passes, CausalLm student, Batch batch, SortedMap<String, Sums> byDomain) {
    passes.backend().copy(batch.shared, passes.shared(batch.shared.rows()));
    Tensor hidden = passes.learn(batch.tokens);
    double[] divergences = NextTokens.kl(student, batch.reference, hidden, batch.tokens);
    double[] nll = NextTokens.nll(student, hidden, batch.tokens);
    PackedSequences sequences = batch.tokens.sequences();
    for (int s = 0; s < sequences.sequences(); s++) {
      Sums sums = byDomain.computeIfAbsent(batch.domains.get(s), domain -> new Sums());
      for (int row = sequences.offsets()[s]; row < sequences.offsets()[s + 1]; row++) {
        sums.divergence += divergences[row];
        sums.nll += nll[row];
      }
      sums.tokens += sequences.length(s);
      sums.predicted += sequences.length(s) - 1;
    }
  }

  @Override
  public void close() {
    batches.forEach(batch -> batch.tokens.close());
    arena.close();
  }
}
