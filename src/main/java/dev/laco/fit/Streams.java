package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.Workspace;
import java.util.Arrays;
import java.util.List;

/**
 * The residual streams of the original and of the pruned model, {@code [T, d]} over all tokens of
 * the fit text, and buffers for one block of tokens. Every token weighs {@code 1 / mean(h_t^2)},
 * {@code h_t} being the original's hidden state there.
 */
final class Streams implements AutoCloseable {
  /** Floor of a hidden state's mean square: smaller ones do not weigh more. */
  static final double FLOOR = 1e-6;

  private final Backend backend;
  private final boolean parallel;
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
    parallel = config.parallel();
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
    backend.upload(filled(largestBlock, 1), ones);
    backend.upload(filled(width, config.norm().neutralWeight()), unit);
  }

  private static float[] filled(int count, float value) {
    float[] values = new float[count];
    Arrays.fill(values, value);
    return values;
  }

  /** Bytes of streams and buffers for {@code tokens} tokens. */
  static long bytes(ModelConfig config, long tokens, int largestBlock) {
    long rows = 2L * tokens + largestBlock;
    return (rows * config.hiddenSize() + 2L * largestBlock + config.hiddenSize())
            * DType.F32.byteSize()
        + Workspace.bytes(config, largestBlock);
  }

  /** The original's stream over all tokens. */
  Tensor dense() {
    return dense;
  }

  Tensor dense(FitBlocks.Block block) {
    return block.rows(dense);
  }

  Tensor pruned(FitBlocks.Block block) {
    return block.rows(pruned);
  }

  /** Copies the original's stream to the pruned model's. */
  void fork() {
    backend.copy(dense, pruned);
  }

  /**
   * Adds a layer's attention output to rows {@code x} of a stream, in place. Where attention and
   * feed-forward network are parallel the stream stays the input of both, and {@link #feedForward}
   * adds the outputs of both.
   */
  void attention(LayerWeights weights, LayerAttention attention, Tensor x, FitBlocks.Block block) {
    if (!parallel) {
      addAttention(weights, attention, x, x, block);
    }
  }

  /** Adds the attention output of a layer with input {@code x} to {@code sum}. */
  private void addAttention(
      LayerWeights weights, LayerAttention attention, Tensor x, Tensor sum, FitBlocks.Block block) {
    Workspace.Buffers buffers = work.forTokens(x.rows());
    DecoderLayer.Attended attended = decoder.attend(weights, attention, x, block.batch(), buffers);
    backend.add(sum, decoder.project(weights, attended, buffers).states());
  }

  /** Adds a layer's feed-forward output to rows {@code y} of a stream, in place. */
  void feedForward(
      LayerWeights weights, LayerAttention attention, Tensor y, FitBlocks.Block block) {
    Workspace.Buffers buffers = work.forTokens(y.rows());
    if (parallel) {
      decoder.run(weights, attention, y, block.batch(), buffers);
      return;
    }
    decoder.addFeedForward(weights, y, buffers);
  }

  /** Runs a whole layer on rows {@code x} of a block's tokens, in place. */
  void layer(LayerWeights weights, LayerAttention attention, Tensor x, FitBlocks.Block block) {
    decoder.run(weights, attention, x, block.batch(), work.forTokens(x.rows()));
  }

  /**
   * The same, of a layer without experts, whose feed-forward channels are kept.
   *
   * @param kept {@code [T, k]}
   */
  void layer(
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      FitBlocks.Block block,
      Tensor kept) {
    Workspace.Buffers buffers = work.forTokens(x.rows());
    Tensor sum = x;
    if (parallel) {
      sum = target.slice(0, x.rows());
      backend.copy(x, sum);
    }
    addAttention(weights, attention, x, sum, block);
    DecoderLayer.Channels channels = decoder.channels(weights, x, buffers);
    backend.copy(channels.values(), kept);
    backend.add(sum, decoder.contribute(weights, channels, buffers).states());
    if (parallel) {
      backend.copy(sum, x);
    }
  }

  /**
   * A block of a least-squares problem in which each token is one row, multiplied by the square
   * root of its weight.
   *
   * @param features {@code [T, inputs]}
   * @param target {@code [T, outputs]}: what a linear map of the features is to come close to
   */
  record Samples(Tensor features, Tensor target) {}

  /**
   * Samples for the output projection of attention: features are the outputs of the heads, the
   * target is the original's stream less the pruned stream to which attention has been added.
   */
  Samples forOutput(LayerWeights weights, LayerAttention attention, FitBlocks.Block block) {
    Tensor x = pruned(block);
    Workspace.Buffers buffers = work.forTokens(x.rows());
    DecoderLayer.Attended attended = decoder.attend(weights, attention, x, block.batch(), buffers);
    Tensor reached = copied(block);
    return samples(attended.heads(), decoder.project(weights, attended, buffers), reached, block);
  }

  /**
   * Samples for the down projection: features are the feed-forward channels, the target is the
   * original's stream less the pruned stream to which the feed-forward part has been added.
   */
  Samples forDown(LayerWeights weights, LayerAttention attention, FitBlocks.Block block) {
    Tensor y = pruned(block);
    Tensor reached = behindAttention(weights, attention, block);
    Workspace.Buffers buffers = work.forTokens(y.rows());
    DecoderLayer.Channels channels = decoder.channels(weights, y, buffers);
    return samples(
        channels.values(), decoder.contribute(weights, channels, buffers), reached, block);
  }

  /**
   * Samples for a map behind the down projection: features are what the feed-forward part adds to
   * the pruned stream, the target is that of {@link #forDown}.
   */
  Samples forMap(LayerWeights weights, LayerAttention attention, FitBlocks.Block block) {
    Tensor y = pruned(block);
    Tensor reached = behindAttention(weights, attention, block);
    Workspace.Buffers buffers = work.forTokens(y.rows());
    DecoderLayer.Projected added = decoder.feedForward(weights, y, buffers);
    return samples(added.states(), added, reached, block);
  }

  /** The pruned stream, in a buffer. */
  private Tensor copied(FitBlocks.Block block) {
    Tensor reached = target.slice(0, block.tokens());
    backend.copy(pruned(block), reached);
    return reached;
  }

  /** The pruned stream to which attention has been added, in a buffer. */
  private Tensor behindAttention(
      LayerWeights weights, LayerAttention attention, FitBlocks.Block block) {
    Tensor reached = copied(block);
    if (parallel) {
      addAttention(weights, attention, pruned(block), reached, block);
    }
    return reached;
  }

  private Samples samples(
      Tensor features, DecoderLayer.Projected added, Tensor reached, FitBlocks.Block block) {
    backend.add(reached, added.states());
    scale(features, block);
    backend.scaledDifference(dense(block), reached, scale.slice(0, features.rows()), reached);
    return new Samples(features, reached);
  }

  /** The feed-forward channels at the pruned stream, {@code [T, k]}. */
  Tensor channels(LayerWeights weights, FitBlocks.Block block) {
    Tensor y = pruned(block);
    return decoder.channels(weights, y, work.forTokens(y.rows())).values();
  }

  /** Multiplies each row by the square root of its token's weight, in place. */
  void scale(Tensor features, FitBlocks.Block block) {
    Tensor weight = scale.slice(0, features.rows());
    backend.inverseRms(dense(block), FLOOR, weight);
    backend.scaledDifference(features, null, weight, features);
  }

  /**
   * What the projections behind a norm of a layer multiply at rows {@code x} of a stream.
   *
   * @param norm the role of the norm's weight
   * @param bias the role of the norm's bias
   * @return {@code x} itself in a family without this norm
   */
  Tensor input(LayerWeights weights, LayerRole norm, LayerRole bias, Tensor x) {
    Tensor weight = weights.find(norm);
    return weight == null
        ? x
        : decoder.normalise(weight, weights.find(bias), x, work.forTokens(x.rows())).states();
  }

  /** The pruned stream after an RMS norm without weights, {@code [T, d]}. */
  Tensor normed(FitBlocks.Block block) {
    return normed(pruned(block));
  }

  /** Rows {@code x} of a stream after an RMS norm without weights, {@code [T, d]}. */
  Tensor normed(Tensor x) {
    return decoder.normalise(unit, null, x, work.forTokens(x.rows())).states();
  }

  /**
   * Samples for the map that aligns inputs, unweighted: features are {@link #normed}, the target is
   * the original's stream after the same norm less the features.
   */
  Samples forAlignment(FitBlocks.Block block) {
    Tensor normed = normed(block);
    Tensor difference = target.slice(0, normed.rows());
    decoder.normalise(unit, null, dense(block), difference);
    backend.scaledDifference(difference, normed, ones.slice(0, normed.rows()), difference);
    return new Samples(normed, difference);
  }

  /**
   * For each token of a block, the length of the original's hidden state divided by that of the
   * pruned model's.
   */
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
   * The squared distance of the pruned stream, times {@code factor}, from the original's: the sum
   * over the tokens of a block, each relative to the mean square of the original's hidden state.
   */
  double squaredDistance(double factor, FitBlocks.Block block) {
    Tensor difference = target.slice(0, dense(block).rows());
    backend.mix(
        List.of(
            new TensorMix(
                difference, new double[] {1, -factor}, List.of(dense(block), pruned(block)))));
    scale(difference, block);
    return Values.sumOfSquares(backend, difference);
  }

  @Override
  public void close() {
    work.close();
    arena.close();
  }
}
