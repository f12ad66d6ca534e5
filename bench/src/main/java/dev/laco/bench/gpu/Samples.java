package dev.laco.bench.gpu;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.PackedSequences;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeSet;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * Rows and columns of tensors that stand for all of them, where the reference would take too long
 * for all. A tensor that is not named is taken whole.
 */
final class Samples {
  /** Everything, where the reference is quick enough. */
  static final Samples ALL = new Samples();

  private static final int COUNT = 8;
  private static final int QUERIES = 4;
  private static final int SHORT = 128;
  private static final long SEED = 7;

  private final Map<Tensor, List<Long>> rows = new HashMap<>();
  private final Map<Tensor, List<Long>> columns = new HashMap<>();
  private @Nullable PackedSequences batch;
  private @Nullable List<Integer> sequences;

  /** The first of some, the last, and others between them; all where there are few. */
  static List<Long> of(long count) {
    TreeSet<Long> chosen = new TreeSet<>(List.of(0L, count - 1));
    SplittableRandom random = new SplittableRandom(SEED);
    while (chosen.size() < Math.min(COUNT, count)) {
      chosen.add(random.nextLong(count));
    }
    return List.copyOf(chosen);
  }

  /** The numbers from one to before another. */
  static List<Long> range(long from, long to) {
    return LongStream.range(from, to).boxed().toList();
  }

  /**
   * Of an op that makes each row of the rows at the same place: the same tokens of all tensors that
   * have a row for each.
   */
  static Samples ofTokens(Sizes sizes, Lab lab) {
    List<Long> tokens = of(sizes.tokens());
    Samples samples = new Samples().batch(alone(tokens.size()));
    lab.tensors().stream()
        .map(Lab.Guarded::part)
        .filter(tensor -> tensor.rows() == sizes.tokens())
        .forEach(tensor -> samples.rows(tokens, tensor));
    return samples;
  }

  /** The same, of some sequences: all tokens of the first and of the last. */
  static Samples ofSequences(Sizes sizes, Lab lab) {
    PackedSequences packed = sizes.packed();
    TreeSet<Integer> chosen = new TreeSet<>(List.of(0, packed.sequences() - 1));
    int[] offsets = packed.offsets();
    List<Long> tokens =
        chosen.stream()
            .flatMap(sequence -> range(offsets[sequence], offsets[sequence + 1]).stream())
            .toList();
    Samples samples =
        new Samples()
            .batch(
                PackedSequences.of(
                    chosen.stream()
                        .map(sequence -> new int[offsets[sequence + 1] - offsets[sequence]])
                        .toList()));
    samples.sequences = List.copyOf(chosen);
    lab.tensors().stream()
        .map(Lab.Guarded::part)
        .filter(tensor -> tensor.rows() == sizes.tokens())
        .forEach(tensor -> samples.rows(tokens, tensor));
    return samples;
  }

  /**
   * The last queries of the last sequence, which see the most keys.
   *
   * @param ofQueries tensors with a row for each token
   */
  static Samples ofLastQueries(PackedSequences packed, Tensor... ofQueries) {
    int last = packed.sequences() - 1;
    int first = packed.offsets()[last];
    int end = packed.offsets()[last + 1];
    int from = Math.max(end - QUERIES, first);
    return ofTokens(from, end, packed.past()[last] + from - first, ofQueries);
  }

  /** The keys that the last sequence's queries see. */
  Samples keysOf(PackedSequences packed, Tensor... ofKeys) {
    int last = packed.sequences() - 1;
    return rows(range(packed.keyOffsets()[last], packed.keyOffsets()[last + 1]), ofKeys);
  }

  /** The first tokens of the last sequence, on which alone what comes out for them depends. */
  static Samples ofFirstTokens(PackedSequences packed, Tensor... ofTokens) {
    int last = packed.sequences() - 1;
    int first = packed.offsets()[last];
    return ofTokens(first, Math.min(first + SHORT, packed.offsets()[last + 1]), 0, ofTokens);
  }

  /** The last tokens of the last sequence, as a sequence without earlier ones. */
  static Samples ofLastTokens(PackedSequences packed, Tensor... ofTokens) {
    int last = packed.sequences() - 1;
    int end = packed.offsets()[last + 1];
    return ofTokens(Math.max(end - SHORT, packed.offsets()[last]), end, 0, ofTokens);
  }

  private static Samples ofTokens(int from, int to, int before, Tensor... tensors) {
    int[] offsets = {0, to - from};
    return new Samples()
        .rows(range(from, to), tensors)
        .batch(new PackedSequences(new int[to - from], offsets, new int[] {before}));
  }

  /** Sequences of a token each, whose ids are 0, 1, and so on. */
  private static PackedSequences alone(int count) {
    return PackedSequences.of(
        IntStream.range(0, count).mapToObj(token -> new int[] {token}).toList());
  }

  /** Of these tensors only some rows. */
  Samples rows(List<Long> chosen, Tensor... of) {
    for (Tensor tensor : of) {
      rows.put(tensor, chosen);
    }
    return this;
  }

  /** Of other tensors the rows that were chosen of one. */
  Samples rowsOf(Tensor one, Tensor... others) {
    return rows(rows(one), others);
  }

  /** Of a tensor only where some rows and some columns meet. */
  Samples block(List<Long> chosen, List<Long> across, Tensor of) {
    rows.put(of, chosen);
    columns.put(of, across);
    return this;
  }

  /** Other sequences than the op's, to which the chosen rows belong. */
  Samples batch(PackedSequences sequences) {
    batch = sequences;
    return this;
  }

  /** The sequences for the reference in place of the op's. */
  PackedSequences batchInsteadOf(PackedSequences whole) {
    return batch == null ? whole : batch;
  }

  /** The rows that were chosen of a tensor. */
  List<Long> rows(Tensor tensor) {
    return rows.getOrDefault(tensor, range(0, tensor.rows()));
  }

  /** The sequences that were chosen of so many. */
  List<Integer> sequences(int count) {
    return sequences == null ? IntStream.range(0, count).boxed().toList() : sequences;
  }

  /** Copies what was chosen of a tensor to host memory. */
  MemoryTensor download(Lab lab, Tensor tensor, TensorArena memory) {
    List<Long> chosen = rows(tensor);
    List<Long> across = columns.get(tensor);
    MemoryTensor wide =
        MemoryTensor.of(memory.allocate(tensor.dtype(), chosen.size(), tensor.columns()));
    int done = 0;
    while (done < chosen.size()) {
      int end = done + 1;
      while (end < chosen.size() && chosen.get(end) == chosen.get(end - 1) + 1) {
        end++;
      }
      Tensor neighbours = tensor.slice(chosen.get(done), chosen.get(end - 1) + 1);
      lab.download(neighbours, wide.slice(done, end));
      done = end;
    }
    return across == null ? wide : columns(wide, across, memory);
  }

  private static MemoryTensor columns(MemoryTensor wide, List<Long> across, TensorArena memory) {
    MemoryTensor narrow =
        MemoryTensor.of(memory.allocate(wide.dtype(), wide.rows(), across.size()));
    for (long row = 0; row < wide.rows(); row++) {
      for (int i = 0; i < across.size(); i++) {
        narrow.set(row * across.size() + i, wide.get(row * wide.columns() + across.get(i)));
      }
    }
    return narrow;
  }
}
