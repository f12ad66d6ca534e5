package dev.laco.bench;

import dev.laco.model.Activation;
import dev.laco.model.Architecture;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import java.util.Collections;

/** Shapes of models that people prune, by the names that people call them. */
final class ModelShape {
  private ModelShape() {}

  /** The config of a model, as far as shapes go. */
  static ModelConfig of(String name) {
    return switch (name) {
      case "SmolLM2-135M" -> llama(30, 576, 1536, 9, 3, 64, 49152, true);
      case "Llama-3.2-1B" -> llama(16, 2048, 8192, 32, 8, 64, 128256, true);
      case "Llama-2-7B" -> llama(32, 4096, 11008, 32, 32, 128, 32000, false);
      default -> throw new IllegalArgumentException("no shapes of a model " + name);
    };
  }

  private static ModelConfig llama(
      int layers,
      int hidden,
      int inner,
      int heads,
      int keyValueHeads,
      int headDim,
      int vocabulary,
      boolean tied) {
    return new ModelConfig(
        Architecture.LLAMA,
        layers,
        hidden,
        inner,
        heads,
        keyValueHeads,
        headDim,
        vocabulary,
        4096,
        1e-5,
        Activation.SILU,
        new RopeParameters(10000, new RopeParameters.Default()),
        false,
        false,
        false,
        tied,
        Collections.nCopies(layers, 0));
  }
}
