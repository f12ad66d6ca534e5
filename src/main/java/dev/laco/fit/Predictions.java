package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.collapse.BlockSettings.Block;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import java.util.List;
import java.util.function.DoubleSupplier;

/** How far the original's predictions of a text move when layers are removed. */
interface Predictions extends AutoCloseable {
  /**
   * By gradients, or by runs where a norm follows the down projection, which no map takes the place
   * of: what a fit leaves has another direction there, and only its size tells.
   *
   * @param text blocks of tokens in consecutive rows
   */
  static Predictions of(CausalLm original, CheckpointLayers layers, List<FitBlocks.Block> text) {
    return original.config().normsOutputs()
        ? new PredictionRuns(original, text)
        : new PredictionGradients(original, layers, text);
  }

  /** Bytes of memory for a text of so many tokens. */
  static long bytes(Backend backend, ModelConfig config, long tokens) {
    return config.normsOutputs()
        ? PredictionRuns.bytes(config, tokens)
        : PredictionGradients.bytes(backend, config, tokens);
  }

  /**
   * Runs the original over the text. Called once, before anything is asked.
   *
   * @param least the first layer in front of which hidden states change
   */
  void compute(int least);

  /**
   * The median over all tokens of {@code 1 / sqrt(mean(h^2))}, of the hidden states in front of a
   * layer, or behind the last.
   */
  float scale(int index);

  /**
   * The mean divergence from the original's predictions, nats a token. Of blocks that end in front
   * of the same layer, the longest is asked for first.
   *
   * @param removed the layers that are removed
   * @param change what a fit leaves of the hidden states behind these layers, {@code [T, d]}; lost
   * @param states the original's hidden states there, {@code [T, d]}
   * @param unexplained the share of them that the change is
   * @return the divergence, which is known once every block has been asked for
   */
  DoubleSupplier divergence(Block removed, Tensor change, Tensor states, double unexplained);

  @Override
  void close();
}
