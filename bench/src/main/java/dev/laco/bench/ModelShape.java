package dev.laco.bench;

import dev.laco.model.Activation;
import dev.laco.model.Architecture;
import dev.laco.model.LayerAttention;
import dev.laco.model.LogitSpec;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import java.util.Collections;

/** Shapes of models that people prune, by the names that people call them. */
public final class ModelShape {
  /** Of no model: for an emulated device, which takes a second for what a device does at once. */
  public static final String TINY = "tiny";

  /** Of no model: widths that no vector fits. */
  public static final String ODD = "odd";

  /** Of no model: the heads of a large one. */
  public static final String WIDE = "wide";

  private static final String LLAMA = "LlamaForCausalLM";
  private static final String QWEN3 = "Qwen3ForCausalLM";

  private ModelShape() {}

  /** The config of a model, as far as shapes go. */
  public static ModelConfig of(String name) {
    return switch (name) {
      case TINY -> of(LLAMA, 8, 48, 80, 4, 2, 16, 60, false);
      case ODD -> of(LLAMA, 2, 33, 47, 3, 3, 16, 19, false);
      case WIDE -> of(LLAMA, 2, 256, 160, 2, 1, 128, 40, false);
      case "SmolLM2-135M" -> of(LLAMA, 30, 576, 1536, 9, 3, 64, 49152, true);
      case "Llama-3.2-1B" -> of(LLAMA, 16, 2048, 8192, 32, 8, 64, 128256, true);
      case "Llama-2-7B" -> of(LLAMA, 32, 4096, 11008, 32, 32, 128, 32000, false);
      case "Llama-3-8B" -> of(LLAMA, 32, 4096, 14336, 32, 8, 128, 128256, false);
      case "Qwen3-8B" -> of(QWEN3, 36, 4096, 12288, 32, 8, 128, 151936, false);
      case "Llama-3-70B" -> of(LLAMA, 80, 8192, 28672, 64, 8, 128, 128256, false);
      default -> throw new IllegalArgumentException("no shapes of a model " + name);
    };
  }

  /** A config with other widths of hidden states and of the feed-forward network. */
  public static ModelConfig withWidths(ModelConfig config, int hidden, int inner) {
    return new ModelConfig(
        config.architecture(),
        config.numHiddenLayers(),
        hidden,
        inner,
        config.numAttentionHeads(),
        config.numKeyValueHeads(),
        config.headDim(),
        config.vocabSize(),
        config.maxPositionEmbeddings(),
        config.rmsNormEps(),
        config.hiddenAct(),
        config.queryKeyValueBias(),
        config.outputBias(),
        config.mlpBias(),
        config.queryKeyNorm(),
        config.parallel(),
        config.tieWordEmbeddings(),
        config.embeddingScale(),
        config.residualScale(),
        config.attentionScores(),
        config.alibi(),
        config.unitHead(),
        config.logits(),
        config.latentAttention(),
        config.gatedHeads(),
        config.linearAttention(),
        config.convolution(),
        config.mixture(),
        config.attention(),
        config.visualLayers(),
        config.predictionLayers());
  }

  private static final RopeParameters ROTATION =
      new RopeParameters(10000, 1, new RopeParameters.Default());

  private static ModelConfig of(
      String className,
      int layers,
      int hidden,
      int inner,
      int heads,
      int keyValueHeads,
      int headDim,
      int vocabulary,
      boolean tied) {
    return new ModelConfig(
        Architecture.forClassName(className).orElseThrow(),
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
        false,
        false,
        false,
        false,
        false,
        tied,
        1,
        1,
        new LogitSpec(1 / Math.sqrt(headDim), 0),
        false,
        false,
        LogitSpec.PLAIN,
        null,
        false,
        null,
        null,
        null,
        Collections.nCopies(layers, new LayerAttention(0, ROTATION)),
        0,
        0);
  }
}
