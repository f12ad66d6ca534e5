package dev.laco.checkpoint.export;

import dev.laco.BadInputException;
import dev.laco.model.Activation;
import dev.laco.model.LayerAttention;
import dev.laco.model.Mixture;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import dev.laco.model.RopeParameters.Default;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * What llama.cpp computes for a file of an architecture beyond what metadata say: it derives
 * rotation, windows and scales from the architecture and the number of layers. A model for which it
 * derives something else cannot be written.
 *
 * @param model the name of the model, for messages
 * @param name {@code general.architecture}
 */
record LlamaCppRules(String model, String name, ModelConfig config) {
  /** Architectures in whose files attention windows are honoured, but for phi3. */
  private static final List<String> WITH_WINDOWS = List.of("gemma2", "gemma3", "olmo2", "exaone4");

  /** Architectures in whose files the output projection of attention is a square. */
  private static final List<String> SQUARE_OUTPUT =
      List.of("olmo2", "olmoe", "qwen2moe", "exaone4");

  /** Architectures whose files always have a head. */
  private static final List<String> OWN_HEAD = List.of("olmo2", "olmoe", "qwen2moe");

  /** Architectures whose files never have a head. */
  private static final List<String> TIED_HEAD = List.of("gemma", "gemma2");

  /** The number of layers at which EXAONE 4 has windows. */
  private static final int EXAONE_LAYERS = 64;

  private static final double ROUNDING = 1e-6;

  /** The window that some layers have; 0 where none has one that is shorter than the context. */
  int window() {
    int window = config.attention().stream().mapToInt(LayerAttention::window).max().orElse(0);
    return name.equals("phi3") || window < config.maxPositionEmbeddings() ? window : 0;
  }

  /** Whether each layer has the window. */
  List<Boolean> sliding() {
    return config.attention().stream().map(layer -> layer.window() > 0).toList();
  }

  /** Whether metadata say which layers have a window. */
  boolean hasWindowPattern() {
    return window() > 0 && WITH_WINDOWS.contains(name);
  }

  /** The rotation of layers that attend to all positions, or where none does, of all others. */
  @Nullable RopeParameters rotation() {
    return config.attention().stream()
        .filter(layer -> layer.rotation() != null)
        .sorted((a, b) -> Integer.compare(a.window(), b.window()))
        .map(LayerAttention::rotation)
        .findFirst()
        .orElse(null);
  }

  /** The rotary base of layers that have a window; null where no metadata say it. */
  @Nullable Double windowTheta() {
    return hasWindowPattern() && !name.equals("gemma2")
        ? config.attention().stream()
            .filter(layer -> layer.window() > 0)
            .map(LayerAttention::rotation)
            .filter(Objects::nonNull)
            .map(RopeParameters::theta)
            .findFirst()
            .orElse(null)
        : null;
  }

  /**
   * Refuses a model that llama.cpp would compute otherwise.
   *
   * @param warnings is told what llama.cpp computes otherwise for long texts alone
   * @throws BadInputException naming what differs
   */
  void require(Consumer<String> warnings) {
    Activation activation = name.startsWith("gemma") ? Activation.GELU_TANH : Activation.SILU;
    if (config.hiddenAct() != activation) {
      throw unsupported("the activation " + config.hiddenAct().configName());
    }
    requireTensors();
    boolean readsBiases = name.equals("llama") || name.equals("granite");
    if (!readsBiases && (config.outputBias() || config.mlpBias())) {
      throw unsupported("a bias of an output or feed-forward projection");
    }
    if (name.equals("olmoe") && config.numKeyValueHeads() != config.numAttentionHeads()) {
      throw unsupported("grouped queries in a file of this architecture");
    }
    if (name.equals("phi3") && window() > 0 && window() < config.maxPositionEmbeddings()) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: llama.cpp ignores the attention window of %d tokens, so that it computes longer texts differently",
              model,
              window()));
    }
    RopeParameters rotation = rotation();
    if (rotation != null && rotation.scaling() instanceof RopeParameters.LongRope) {
      warnings.accept(
          model
              + ": llama.cpp ignores the length of a text where it chooses factors of LongRoPE, and goes by the size of"
              + " its context; give it a context that is no longer than the original's for short texts");
    }
    if (window() > 0 && !hasWindowPattern() && !name.equals("phi3")) {
      throw unsupported("attention windows in a file of this architecture");
    }
    if (window() > 0 && name.equals("exaone4") && config.numHiddenLayers() != EXAONE_LAYERS) {
      throw unsupported("attention windows in an EXAONE 4 of other than 64 layers");
    }
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      LayerAttention attention = config.attention().get(layer);
      if (!Objects.equals(attention.rotation(), rotationOf(layer))) {
        throw unsupported(String.format(Locale.ROOT, "the rotary embedding of layer %d", layer));
      }
    }
    double scale = config.attentionScores().scale();
    if (!name.equals("granite") && Math.abs(scale - scoreScale()) > ROUNDING * scale) {
      throw unsupported(
          String.format(
              Locale.ROOT,
              "attention scores times %.6f (llama.cpp takes %.6f in a file of %d layers)",
              scale,
              scoreScale(),
              config.numHiddenLayers()));
    }
    requireMixtures();
  }

  /**
   * Tensors have the shapes that llama.cpp expects, and the head is where llama.cpp looks for it.
   */
  private void requireTensors() {
    int heads = config.numAttentionHeads();
    if (SQUARE_OUTPUT.contains(name) && heads * config.headDim() != config.hiddenSize()) {
      throw unsupported("heads whose width is not the hidden size divided by their number");
    }
    if (name.equals("olmoe") && config.numKeyValueHeads() != heads) {
      throw unsupported("an OLMoE with grouped queries");
    }
    if (OWN_HEAD.contains(name) && config.tieWordEmbeddings()) {
      throw unsupported("a head that is tied to the embedding, in a file of this architecture,");
    }
    if (TIED_HEAD.contains(name) && !config.tieWordEmbeddings()) {
      throw unsupported(
          "a head that is not tied to the embedding, in a file of this architecture,");
    }
  }

  private @Nullable RopeParameters rotationOf(int layer) {
    RopeParameters main = rotation();
    boolean slides = window() > 0 && config.attention().get(layer).window() > 0;
    if (main == null) {
      return null;
    }
    return switch (name) {
      case "smollm3" -> (layer + 1) % 4 == 0 ? null : main;
      case "exaone4" -> slides || window() == 0 ? main : null;
      case "gemma3", "olmo2" ->
          slides
              ? new RopeParameters(
                  Objects.requireNonNullElse(windowTheta(), main.theta()),
                  main.share(),
                  new Default())
              : main;
      default -> main;
    };
  }

  /** The factor on products of queries and keys. */
  private double scoreScale() {
    int layers = config.numHiddenLayers();
    boolean byHidden =
        (name.equals("gemma2") && layers == 46) || (name.equals("gemma3") && layers == 62);
    int width = byHidden ? config.hiddenSize() / config.numAttentionHeads() : config.headDim();
    return 1 / Math.sqrt(width);
  }

  private void requireMixtures() {
    Mixture mixture = config.mixture();
    if (mixture == null) {
      return;
    }
    if (mixture.layers().contains(false)) {
      throw unsupported("mixtures of experts in some of the layers alone");
    }
    boolean normalised = name.equals("llama") || name.equals("qwen3moe");
    if (mixture.normalised() != normalised) {
      throw unsupported(
          "a mixture whose shares are a softmax over "
              + (normalised ? "all experts" : "the chosen experts"));
    }
  }

  BadInputException unsupported(String what) {
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: %s cannot be written as GGUF; use the folder of Hugging Face's layout",
            model,
            what));
  }
}
