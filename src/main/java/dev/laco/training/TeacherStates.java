package dev.laco.training;

import dev.laco.backend.Device;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.text.FitText;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What the original makes of the text that is learnt from: hidden states in front of the first
 * trained layer, and the last ones. Where a training meets its text more than once they are kept in
 * a file, so that the original runs over the text once.
 *
 * <p>The original runs over the text in batches that do not depend on the order in which the
 * training meets the text. A training that goes on after an end, with an empty file, therefore gets
 * the same states.
 */
final class TeacherStates implements AutoCloseable {
  /** Bytes that come from a file to a device in a second, about. */
  private static final double FILE_RATE = 1e9;

  private final Passes passes;
  private final @Nullable SwapFile file;
  private final Map<FitText.Chunk, Kept> kept = new HashMap<>();
  private final Map<Integer, List<FitText.Chunk>> missing = new HashMap<>();

  /**
   * Where a chunk's states are.
   *
   * @param batch in which the original runs over the chunk
   * @param token of the text with which the chunk begins
   */
  private record Kept(int batch, long token) {}

  private TeacherStates(Passes passes, @Nullable SwapFile file) {
    this.passes = passes;
    this.file = file;
  }

  /** States that are computed whenever they are asked for. */
  static TeacherStates computed(Passes passes) {
    return new TeacherStates(passes, null);
  }

  /**
   * States that are computed once.
   *
   * @param chunks of the text
   * @param file of {@link #bytes}, which is closed with the states
   */
  static TeacherStates kept(
      Passes passes, List<FitText.Chunk> chunks, int batchTokens, SwapFile file) {
    TeacherStates states = new TeacherStates(passes, file);
    long token = 0;
    for (List<FitText.Chunk> together : DistillationText.parts(chunks, batchTokens)) {
      int batch = states.missing.size();
      states.missing.put(batch, together);
      for (FitText.Chunk chunk : together) {
        states.kept.put(chunk, new Kept(batch, token));
        token += chunk.length();
      }
    }
    return states;
  }

  /**
   * Whether a device gets states from a file in less time than the original takes for them. That is
   * so on every CPU, and on a GPU for large originals.
   *
   * @param config of the original
   */
  static boolean isReadFaster(Device device, ModelConfig config) {
    long parameters =
        IntStream.range(0, config.numHiddenLayers()).mapToLong(config::activeParameters).sum();
    double computed = 2.0 * parameters / device.operationsPerSecond(device.productType(DType.BF16));
    return bytes(1, config.hiddenSize()) / FILE_RATE < computed;
  }

  /** Bytes of the states of a text in a file. */
  static long bytes(long tokens, long width) {
    return 2 * tokens * width * Float.BYTES;
  }

  /** Brings in the states of a batch's chunks, for {@link Passes#train}. */
  void bring(TokenBatch batch, List<FitText.Chunk> chunks) {
    int tokens = batch.sequences().size();
    Tensor shared = passes.shared(tokens);
    Tensor last = passes.reference(tokens);
    if (file == null) {
      passes.teach(batch, shared, last);
      return;
    }
    for (FitText.Chunk chunk : chunks) {
      List<FitText.Chunk> together = missing.remove(place(chunk).batch);
      if (together != null) {
        compute(together, file);
      }
    }
    move(chunks, file::read, shared, last);
  }

  private Kept place(FitText.Chunk chunk) {
    Kept place = kept.get(chunk);
    if (place == null) {
      throw new IllegalArgumentException("a chunk that is not of the text");
    }
    return place;
  }

  private void compute(List<FitText.Chunk> together, SwapFile to) {
    PackedSequences sequences =
        PackedSequences.of(together.stream().map(FitText.Chunk::ids).toList());
    Tensor shared = passes.shared(sequences.size());
    Tensor last = passes.reference(sequences.size());
    try (TokenBatch batch = passes.batch(sequences)) {
      passes.teach(batch, shared, last);
      move(together, (offset, rows) -> to.write(rows, offset), shared, last);
    }
  }

  /** Copies rows to or from their place in the file. */
  private interface Move {
    void rows(long offset, Tensor rows);
  }

  private void move(List<FitText.Chunk> chunks, Move move, Tensor shared, Tensor last) {
    int width = passes.config().hiddenSize();
    long first = 0;
    for (FitText.Chunk chunk : chunks) {
      long end = first + chunk.length();
      long offset = bytes(place(chunk).token, width);
      move.rows(offset, shared.slice(first, end));
      move.rows(offset + bytes(chunk.length(), width) / 2, last.slice(first, end));
      first = end;
    }
  }

  @Override
  public void close() {
    if (file != null) {
      file.close();
    }
  }
}
