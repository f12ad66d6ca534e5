package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.Workspace;
import java.util.Arrays;
import java.util.List;

/**
 * The residual streams of the original and of the pruned model over all tokens of the fit text, and
 * the buffers of one block of it.
 */
final class Streams implements AutoCloseable {
  /** Below this mean square a token counts no more for being smaller. */
  private static final double FLOOR = 1e-6;

  private final Backend backend;
  private final ModelConfig config;
  private final DecoderLayer decoder;
  private final TensorArena arena;
  private final Workspace work;

  /** The original's stream, {@code [T, d]}. */
  private final Tensor dense;

  /** The pruned model's, {@code [T, d]}. */
  private final Tensor pruned;

  private final Tensor scale;
  private final Tensor ones;
  private final Tensor unit;
  private final Tensor target;

  Streams(Backend backend, ModelConfig config, int tokens, int largestBlock) {
    this.backend = backend;
    this.config = config;
    decoder = new DecoderLayer(backend, config);
    arena = backend.arena();
    work = new Workspace(backend, config, largestBlock);
    int width = config.hiddenSize();
    dense = arena.allocate(DType.F32, tokens, width);
    pruned = arena.allocate(DType.F32, tokens, width);
    scale = arena.allocate(DType.F32, largestBlock, 1);
    ones = arena.allocate(DType.F32, largestBlock, 1);
    unit = arena.allocate(DType.F32, 1, width);
    target = arena.allocate(DType.F32, largestBlock, width);
    backend.upload(filled(largestBlock), ones);
    backend.upload(filled(width), unit);
  }

  private static float[] filled(int count) {
    float[] values = new float[count];
    Arrays.fill(values, 1);
    return values;
  }

  /** Bytes of streams and buffers. */
  static long bytes(ModelConfig config, long tokens, int largestBlock) {
    long rows = 2L * tokens + largestBlock;
    return (rows * config.hiddenSize() + 2L * largestBlock + config.hiddenSize())
            * DType.F32.byteSize()
        + Workspace.bytes(config, largestBlock);
  }

  Tensor dense(FitBlocks.Block block) {
    return dense.slice(block.from(), block.to());
  }

  Tensor pruned(FitBlocks.Block block) {
    return pruned.slice(block.from(), block.to());
  }

  /** The pruned stream becomes the original's. */
  void fork() {
    backend.copy(dense, pruned);
  }

  /** Adds a layer's attention to a stream. */
  void attention(LayerWeights weights, int window, Tensor x, FitBlocks.Block block) {
    Workspace.Buffers buffers = work.forTokens(x.rows());
    decoder.attend(weights, window, x, block.batch(), buffers);
    decoder.project(weights, buffers);
    backend.add(x, buffers.normed());
  }

  /** Adds a layer's feed-forward part to a stream. */
  void feedForward(LayerWeights weights, Tensor y) {
    Workspace.Buffers buffers = work.forTokens(y.rows());
    decoder.features(weights, y, buffers);
    decoder.contribute(weights, y, buffers);
  }

  /** What the heads say of the pruned stream, {@code [T, heads * headDim]}. */
  Tensor heads(LayerWeights weights, int window, FitBlocks.Block block) {
    Tensor x = pruned(block);
    Workspace.Buffers buffers = work.forTokens(x.rows());
    decoder.attend(weights, window, x, block.batch(), buffers);
    decoder.project(weights, buffers);
    return buffers.attended();
  }

  /** The channels at the pruned stream, {@code [T, k]}. */
  Tensor channels(LayerWeights weights, FitBlocks.Block block) {
    Tensor y = pruned(block);
    Workspace.Buffers buffers = work.forTokens(y.rows());
    decoder.features(weights, y, buffers);
    return buffers.gate();
  }

  /**
   * The channels' slopes at the pruned stream, {@code [T, k]}: along up in {@code gate}, along the
   * gate in {@code up}; in {@code normed} what both matrices multiply.
   */
  Workspace.Buffers slopes(LayerWeights weights, FitBlocks.Block block) {
    Tensor y = pruned(block);
    Workspace.Buffers buffers = work.forTokens(y.rows());
    decoder.slopes(weights, y, buffers);
    return buffers;
  }

  /** What the channels add to the pruned stream, {@code [T, d]}. */
  Tensor contribution(LayerWeights weights, FitBlocks.Block block) {
    Tensor reached = target.slice(0, channels(weights, block).rows());
    backend.copy(pruned(block), reached);
    Workspace.Buffers buffers = work.forTokens(reached.rows());
    decoder.contribute(weights, reached, buffers);
    return buffers.normed();
  }

  /**
   * After {@link #heads} or {@link #contribution}: what the original has and the pruned stream
   * still lacks once the last product's output is added. Scales it, and the features, by the
   * original's inverse root mean square.
   */
  Tensor lackAfterOutput(Tensor features, FitBlocks.Block block) {
    Tensor lack = target.slice(0, features.rows());
    backend.copy(pruned(block), lack);
    backend.add(lack, work.forTokens(features.rows()).normed());
    return scaled(lack, features, block);
  }

  /** After {@link #channels}: likewise once the channels' contribution is added. */
  Tensor lackAfterChannels(LayerWeights weights, Tensor channels, FitBlocks.Block block) {
    Tensor lack = target.slice(0, channels.rows());
    backend.copy(pruned(block), lack);
    decoder.contribute(weights, lack, work.forTokens(channels.rows()));
    return scaled(lack, channels, block);
  }

  private Tensor scaled(Tensor reached, Tensor features, FitBlocks.Block block) {
    scale(features, block);
    backend.scaledDifference(dense(block), reached, scale.slice(0, features.rows()), reached);
    return reached;
  }

  /** Scales features by the original's inverse root mean square. */
  void scale(Tensor features, FitBlocks.Block block) {
    Tensor weight = scale.slice(0, features.rows());
    backend.inverseRms(dense(block), FLOOR, weight);
    backend.scaledDifference(features, null, weight, features);
  }

  /** The pruned stream, normalised without weights. */
  Tensor normed(FitBlocks.Block block) {
    Tensor x = pruned(block);
    Tensor normed = work.forTokens(x.rows()).normed();
    backend.rmsNorm(x, unit, config.rmsNormEps(), normed);
    return normed;
  }

  /** The original's stream, normalised without weights, less {@link #normed}. */
  Tensor normedDifference(Tensor normed, FitBlocks.Block block) {
    Tensor difference = target.slice(0, normed.rows());
    backend.rmsNorm(dense(block), unit, config.rmsNormEps(), difference);
    backend.scaledDifference(difference, normed, ones.slice(0, normed.rows()), difference);
    return difference;
  }

  /** By token of a block: how much longer the original's vector is than the pruned stream's. */
  float[] growth(FitBlocks.Block block) {
    Tensor column = scale.slice(0, dense(block).rows());
    float[] growth = new float[Math.toIntExact(column.rows())];
    float[] inverse = growth.clone();
    backend.inverseRms(pruned(block), FLOOR, column);
    backend.download(column, growth);
    backend.inverseRms(dense(block), FLOOR, column);
    backend.download(column, inverse);
    for (int t = 0; t < growth.length; t++) {
      growth[t] /= inverse[t];
    }
    return growth;
  }

  /**
   * Sum over the tokens of a block of what the original has and the pruned stream, times {@code
   * factor}, lacks: squares, relative to the original's mean square.
   */
  double lack(double factor, FitBlocks.Block block) {
    Tensor lack = target.slice(0, dense(block).rows());
    backend.mix(
        List.of(
            new TensorMix(lack, new double[] {1, -factor}, List.of(dense(block), pruned(block)))));
    scale(lack, block);
    try (TensorArena scratch = backend.arena()) {
      Tensor squares = scratch.allocate(DType.F32, 1, lack.columns());
      backend.addSquares(lack, squares);
      return Values.sum(backend, squares);
    }
  }

  @Override
  public void close() {
    work.close();
    arena.close();
  }
}
