package dev.laco.transformer;

import dev.laco.model.LayerAttention;

/** The layers of a model: read from a checkpoint, or mixed from several when they are needed. */
public interface LayerStack {
  /** Number of layers. */
  int depth();

  /**
   * The weights of layer {@code index}, valid until the next call.
   *
   * @param tokens number of tokens that will run through the layer
   * @throws dev.laco.BadInputException if a weight file has changed since it was opened
   */
  LayerWeights layer(int index, long tokens);

  /** What the attention of layer {@code index} has. */
  LayerAttention attention(int index);
}
