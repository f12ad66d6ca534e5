package dev.laco.transformer;

/** The layers of a model, however they come about: read from a checkpoint or mixed on the way. */
public interface LayerStack {
  /** Number of layers. */
  int depth();

  /**
   * The weights of layer {@code index}, valid until the next call.
   *
   * @param tokens rows that will run through the layer
   * @throws dev.laco.BadInputException if the checkpoint changed under us
   */
  LayerWeights layer(int index, long tokens);

  /** Sliding window of layer {@code index}, 0 if it has none. */
  int slidingWindow(int index);
}
