package dev.laco.transformer;

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

  /** Sliding window of attention in layer {@code index}, in tokens; 0 if there is none. */
  int slidingWindow(int index);
}
