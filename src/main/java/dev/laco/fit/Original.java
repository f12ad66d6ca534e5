package dev.laco.fit;

import dev.laco.model.LayerAttention;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.LayerWeights;

/** Runs the original over all blocks of the fit text, one layer or half a layer at a time. */
final class Original {
  private final CausalLm model;
  private final CheckpointLayers layers;
  private final FitBlocks blocks;
  private final Streams streams;

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
    blocks.list().forEach(block -> model.embed(block.batch(), streams.dense(block)));
  }

  /** Runs layers {@code from} to {@code to}, exclusive. */
  void run(int from, int to) {
    for (int index = from; index < to; index++) {
      attention(index);
      feedForward(index);
    }
  }

  void attention(int index) {
    LayerWeights weights = layer(index);
    LayerAttention attention = layers.attention(index);
    blocks
        .list()
        .forEach(block -> streams.attention(weights, attention, streams.dense(block), block));
  }

  void feedForward(int index) {
    LayerWeights weights = layer(index);
    LayerAttention attention = layers.attention(index);
    blocks
        .list()
        .forEach(block -> streams.feedForward(weights, attention, streams.dense(block), block));
  }

  /** Weights of a layer, valid until another layer is asked for. */
  LayerWeights layer(int index) {
    return layers.layer(index, blocks.largest());
  }
}
