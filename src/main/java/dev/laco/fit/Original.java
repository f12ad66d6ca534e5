package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.LayerWeights;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Runs the original over the fit text and the further text, one layer or half a layer at a time.
 */
final class Original {
  private final CausalLm model;
  private final CheckpointLayers layers;
  private final FitBlocks blocks;
  private final Streams streams;

  /** The input of layer {@link #keptLayer}, {@code [T, d]}; null until it is kept. */
  private @Nullable Tensor kept;

  private int keptLayer;

  Original(CausalLm model, CheckpointLayers layers, FitBlocks blocks, Streams streams) {
    this.model = model;
    this.layers = layers;
    this.blocks = blocks;
    this.streams = streams;
  }

  int depth() {
    return layers.depth();
  }

  /** Writes the token embeddings to the original's stream. */
  void embed() {
    all().forEach(block -> model.embed(block.batch(), streams.dense(block)));
  }

  /**
   * Writes the input of a layer to the original's stream, and keeps it: another call for the same
   * or a later layer goes on from there.
   *
   * @param arena in which the input is kept; all calls have the same
   */
  void start(int layer, Backend backend, TensorArena arena) {
    Tensor all = streams.dense();
    if (kept == null || layer < keptLayer) {
      embed();
      run(0, layer);
    } else {
      backend.copy(kept, all);
      run(keptLayer, layer);
    }
    if (kept == null) {
      kept = arena.allocate(DType.F32, all.rows(), all.columns());
    }
    backend.copy(all, kept);
    keptLayer = layer;
  }

  /** Runs layers {@code from} to {@code to}, exclusive. */
  void run(int from, int to) {
    for (int index = from; index < to; index++) {
      attention(index);
      feedForward(index);
    }
  }

  /** The same over some of the blocks. */
  void run(int from, int to, List<FitBlocks.Block> some) {
    for (int index = from; index < to; index++) {
      LayerWeights weights = layer(index);
      LayerAttention attention = layers.attention(index);
      some.forEach(block -> streams.layer(weights, attention, streams.dense(block), block));
    }
  }

  /**
   * Runs a layer, and keeps its feed-forward channels.
   *
   * @param channels of all tokens, {@code [T, k]}
   */
  void run(int index, Tensor channels) {
    LayerWeights weights = layer(index);
    LayerAttention attention = layers.attention(index);
    for (FitBlocks.Block block : blocks.wide()) {
      streams.layer(weights, attention, streams.dense(block), block, block.rows(channels));
    }
  }

  void attention(int index) {
    LayerWeights weights = layer(index);
    LayerAttention attention = layers.attention(index);
    all().forEach(block -> streams.attention(weights, attention, streams.dense(block), block));
  }

  void feedForward(int index) {
    LayerWeights weights = layer(index);
    LayerAttention attention = layers.attention(index);
    all().forEach(block -> streams.feedForward(weights, attention, streams.dense(block), block));
  }

  /** The fit text, and the further text. */
  private List<FitBlocks.Block> all() {
    return Stream.concat(blocks.wide().stream(), blocks.wideFurther().stream()).toList();
  }

  /** Weights of a layer, valid until another layer is asked for. */
  LayerWeights layer(int index) {
    return layers.layer(index, blocks.widest());
  }
}
