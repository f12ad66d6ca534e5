package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;

/**
 * The residual stream of the original: the hidden states between its layers. State {@code j} is the
 * input of layer {@code j}; the last one is the output of the last layer, before the final norm.
 *
 * <p>Sequences run in chunks, so that memory holds the states of one chunk.
 */
public final class ResidualStream {
  /** Tokens of a chunk, unless one sequence alone has more. */
  private static final int CHUNK_TOKENS = 512;

  /** Tensors {@code [t, d]} beside the states: the stream inside a layer, and both updates. */
  private static final int BESIDE = 3;

  private ResidualStream() {}

  /** Takes what it needs of the stream, chunk by chunk. */
  public interface Reader {
    /**
     * What a layer adds to the stream.
     *
     * @param before the input of the layer, {@code [t, d]}
     * @param attention what attention adds to it
     * @param feedForward what the feed-forward part adds
     */
    default void layer(int layer, Tensor before, Tensor attention, Tensor feedForward) {}

    /**
     * The states of a chunk, at its end.
     *
     * @param states one for each layer and the last output, {@code [t, d]} each
     */
    default void states(PackedSequences chunk, List<Tensor> states) {}
  }

  /** Bytes of buffers. */
  public static long bytes(ModelConfig config, PackedSequences sequences) {
    long tokens = mostTokens(sequences);
    long state = tokens * config.hiddenSize() * Float.BYTES;
    return (config.numHiddenLayers() + 1L + BESIDE) * state + Workspace.bytes(config, tokens);
  }

  /**
   * Runs the original over sequences.
   *
   * @param progress is told how many tokens have run through a layer, all layers counted
   */
  public static void read(
      RunningModel running,
      PackedSequences sequences,
      List<Reader> readers,
      LongConsumer progress) {
    Backend backend = running.backend();
    ModelConfig config = running.config();
    CausalLm model = running.original();
    int width = config.hiddenSize();
    List<PackedSequences> chunks = chunks(sequences);
    int most = mostTokens(chunks);
    long done = 0;
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, config, most)) {
      Tensor all =
          arena.allocate(DType.F32, (config.numHiddenLayers() + 1L + BESIDE) * most, width);
      for (PackedSequences chunk : chunks) {
        int tokens = chunk.size();
        List<Tensor> states =
            IntStream.rangeClosed(0, config.numHiddenLayers() + BESIDE)
                .mapToObj(i -> all.slice((long) i * most, (long) i * most + tokens))
                .toList();
        Tensor inside = states.get(config.numHiddenLayers() + 1);
        Tensor attention = states.get(config.numHiddenLayers() + 2);
        Tensor feedForward = states.get(config.numHiddenLayers() + 3);
        Difference difference = new Difference(backend, tokens);
        try (TokenBatch batch = model.batch(chunk)) {
          model.embed(batch, states.getFirst());
          for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
            Tensor before = states.get(layer);
            Tensor after = states.get(layer + 1);
            backend.copy(before, after);
            model.layerInParts(layer, after, batch, work, inside);
            difference.of(inside, before, attention);
            difference.of(after, inside, feedForward);
            for (Reader reader : readers) {
              reader.layer(layer, before, attention, feedForward);
            }
            done += tokens;
            progress.accept(done);
          }
          for (Reader reader : readers) {
            reader.states(chunk, states.subList(0, config.numHiddenLayers() + 1));
          }
        }
      }
      model.release();
    }
  }

  /** {@code out = x - y} for tensors of so many rows. */
  private static final class Difference {
    private final Backend backend;
    private final int[] rows;
    private final float[] minus;

    Difference(Backend backend, int count) {
      this.backend = backend;
      rows = IntStream.range(0, count).toArray();
      minus = new float[count];
      Arrays.fill(minus, -1);
    }

    void of(Tensor x, Tensor y, Tensor out) {
      backend.copy(x, out);
      backend.addRows(out, rows, minus, y);
    }
  }

  /** Tokens of the largest chunk. */
  static int mostTokens(PackedSequences sequences) {
    return mostTokens(chunks(sequences));
  }

  private static int mostTokens(List<PackedSequences> chunks) {
    return chunks.stream().mapToInt(PackedSequences::size).max().orElseThrow();
  }

  private static List<PackedSequences> chunks(PackedSequences sequences) {
    List<PackedSequences> chunks = new ArrayList<>();
    List<int[]> chunk = new ArrayList<>();
    int tokens = 0;
    for (int s = 0; s < sequences.sequences(); s++) {
      if (tokens > 0 && tokens + sequences.length(s) > CHUNK_TOKENS) {
        chunks.add(PackedSequences.of(chunk));
        chunk = new ArrayList<>();
        tokens = 0;
      }
      chunk.add(
          Arrays.copyOfRange(
              sequences.tokens(), sequences.offsets()[s], sequences.offsets()[s + 1]));
      tokens += sequences.length(s);
    }
    chunks.add(PackedSequences.of(chunk));
    return chunks;
  }
}
