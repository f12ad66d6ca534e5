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
  /** Everything. */
  static final Samples ALL = new Samples();

  private static final int COUNT = 8;
  private static final long SEED = 7;

  private final Map<Tensor, List<Long>> rows = new HashMap<>();
  private final Map<Tensor, List<Long>> columns = new HashMap<>();
  private @Nullable PackedSequences batch;

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

  /** Copies what was chosen of a tensor to host memory. */
  MemoryTensor download(Lab lab, Tensor tensor, TensorArena memory) {
    List<Long> chosen = rows.getOrDefault(tensor, range(0, tensor.rows()));
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
