package dev.laco.transformer;

import dev.laco.backend.Tensor;
import dev.laco.model.LayerAttention;
import dev.laco.model.TensorSpec;
import java.util.Map;

/** The layers of a model: read from a checkpoint, or mixed from several when they are needed. */
public interface LayerStack {
  /** Number of layers. */
  int depth();

  /**
   * The tensors of layer {@code index}, valid until the next call.
   *
   * @param tokens number of tokens that will run through the layer
   * @throws dev.laco.BadInputException if a weight file has changed since it was opened
   */
  Map<TensorSpec, Tensor> tensors(int index, long tokens);

  /** The weights in the {@link #tensors} of layer {@code index}, by role. */
  default LayerWeights layer(int index, long tokens) {
    return LayerWeights.of(tensors(index, tokens));
  }

  /** What the attention of layer {@code index} has. */
  LayerAttention attention(int index);
}
