package dev.laco.checkpoint.export;

import dev.laco.BadInputException;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.GgufFamily;
import dev.laco.model.LatentAttention;
import dev.laco.model.LayerAttention;
import dev.laco.model.Mixture;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What llama.cpp computes for a file of an architecture beyond what metadata say: it derives
 * rotation, windows and scales from the architecture and the number of layers. A model for which it
 * derives something else cannot be written.
 *
 * @param model the name of the model, for messages
 * @param family the files of the model's family
 */
record LlamaCppRules(String model, GgufFamily family, ModelConfig config) {
  /** The clamped gate of experts, whose numbers no file says. */
  private static final ClampedGate LLAMA_CPP_GATE = new ClampedGate(1.702, 7);

  private static final double ROUNDING = 1e-6;

  /** The largest epsilon of norms by which those of latent vectors are nearly the same. */
  private static final double LARGEST_LATENT_EPS = 1e-5;

  /** The window that some layers have; 0 where none has one that is shorter than the context. */
  int window() {
    int window = config.attention().stream().mapToInt(LayerAttention::window).max().orElse(0);
    boolean always = family.hasIgnoredWindows() || family.hasAlwaysWindow();
    return always || window < config.maxPositionEmbeddings() ? window : 0;
  }

  /** Whether each layer has the window. */
  List<Boolean> sliding() {
    return config.attention().stream().map(layer -> layer.window() > 0).toList();
  }

  /** Whether each layer has linear attention. */
  List<Boolean> linear() {
    return config.attention().stream().map(layer -> !layer.hasSoftmax()).toList();
  }

  /** The heads of keys of each layer, 0 where it has no attention by a softmax. */
  List<Integer> keyValueHeads() {
    return config.attention().stream()
        .map(layer -> layer.hasSoftmax() ? config.numKeyValueHeads() : 0)
        .toList();
  }

  /** Whether each so many-th layer has a softmax, and all others linear attention. */
  boolean isSoftmaxEvery(long interval) {
    List<Boolean> linear = linear();
    return interval > 0
        && IntStream.range(0, linear.size())
            .allMatch(layer -> linear.get(layer) == ((layer + 1) % interval != 0));
  }

  /**
   * The layers in front of the first mixture of experts, all layers where there is none; nothing
   * where metadata do not say it.
   */
  OptionalInt leadingDense() {
    if (!family.hasRouterInMetadata()) {
      return OptionalInt.empty();
    }
    Mixture mixture = config.mixture();
    return OptionalInt.of(mixture == null ? config.numHiddenLayers() : mixture.firstWithout());
  }

  /**
   * The number m of a file of attention with latent vectors: scores are multiplied by {@code (1 + m
   * ln(factor))^2}, beside the usual factor. Nothing where metadata do not say it.
   */
  OptionalDouble yarnMultiplier(RopeParameters.Yarn yarn) {
    return family.hasLatentAttention() && yarn.factor() > 1
        ? OptionalDouble.of((stretchedScores() - 1) / Math.log(yarn.factor()))
        : OptionalDouble.empty();
  }

  /** The root of the factor on attention scores beside the usual one. */
  private double stretchedScores() {
    return Math.sqrt(config.attentionScores().scale() / scoreScale());
  }

  /** Whether metadata say which layers have a window. */
  boolean hasWindowPattern() {
    return window() > 0 && family.windowPeriod() > 0;
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
    return hasWindowPattern() && !family.hasOneRotation()
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
   * @param warnings is told what llama.cpp computes otherwise for long texts alone, or nearly alike
   * @throws BadInputException naming what differs
   */
  void require(Consumer<String> warnings) {
    requireOfAnyLayers();
    String otherwise = family.whyNot(config, window());
    if (otherwise != null) {
      throw unsupported(otherwise);
    }
    if (family.hasIgnoredWindows() && window() > 0 && window() < config.maxPositionEmbeddings()) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: llama.cpp ignores the attention window of %d tokens, so that it computes longer texts differently",
              model,
              window()));
    }
    RopeParameters rotation = rotation();
    if (rotation != null) {
      requireScaling(rotation.scaling());
    }
    if (rotation != null && rotation.scaling() instanceof RopeParameters.LongRope) {
      warnings.accept(
          model
              + ": llama.cpp ignores the length of a text where it chooses factors of LongRoPE, and goes by the size of"
              + " its context; give it a context that is no longer than the original's for short texts");
    }
    if (rotation != null
        && rotation.scaling() instanceof RopeParameters.Yarn yarn
        && !yarn.truncate()) {
      warnings.accept(
          model
              + ": llama.cpp rounds the range of YaRN to whole frequencies, so that it turns some of them a little"
              + " differently");
    }
    if (window() > 0 && !hasWindowPattern() && !family.hasIgnoredWindows()) {
      throw unsupported("attention windows in a file of this architecture");
    }
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      LayerAttention attention = config.attention().get(layer);
      if (attention.hasSoftmax() && !Objects.equals(attention.rotation(), rotationOf(layer))) {
        throw unsupported(String.format(Locale.ROOT, "the rotary embedding of layer %d", layer));
      }
    }
    double scale = config.attentionScores().scale();
    boolean said = family.hasScoreScale() || family.hasLatentAttention();
    if (!said && Math.abs(scale - scoreScale()) > ROUNDING * scale) {
      throw unsupported(
          String.format(
              Locale.ROOT,
              "attention scores times %.6f (llama.cpp takes %.6f in a file of %d layers)",
              scale,
              scoreScale(),
              config.numHiddenLayers()));
    }
    if (config.mixesTokensAlike()) {
      throw unsupported(
          "a model whose layers are all of one kind (it has memory for two kinds, and aborts without"
              + " either)");
    }
    requireMixtures();
    if (family.hasLatentAttention()) {
      requireLatentsOfLayers(warnings);
    }
    if (family.isWithoutEps()) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: recent releases of llama.cpp take 0 for rms_norm_eps, %s, in a file of this architecture, so that"
                  + " logits differ a little",
              model,
              config.rmsNormEps()));
    }
    if (config.hiddenAct() == Activation.GELU) {
      warnings.accept(model + ": llama.cpp computes GELU by its approximation with tanh");
    }
  }

  /**
   * Refuses a model that llama.cpp would compute otherwise whichever of its layers were removed.
   *
   * @throws BadInputException naming what differs
   */
  void requireOfAnyLayers() {
    if (config.hiddenAct() != family.activation()) {
      throw unsupported("the activation " + config.hiddenAct().configName());
    }
    requireGroups();
    if (family.hasLatentAttention()) {
      requireLatents();
    }
    requireTensors();
    requireBiases();
  }

  /** llama.cpp chooses groups by the sum of their two best experts, where metadata count them. */
  private void requireGroups() {
    RouterSpec.Groups groups = config.mixture() == null ? null : config.mixture().router().groups();
    if (groups != null && !(family.hasLatentAttention() && groups.best() == 2)) {
      throw unsupported(
          family.hasLatentAttention()
              ? "a router that chooses groups of experts by the best one of each"
              : "a router that chooses among groups of experts");
    }
  }

  /** What llama.cpp takes for granted of attention with latent vectors. */
  private void requireLatents() {
    if (config.rotaryPairs() != RotaryPairs.NEIGHBOURS) {
      throw unsupported("a rotation of halves of heads, where llama.cpp rotates neighbours,");
    }
    if (config.rmsNormEps() > LARGEST_LATENT_EPS) {
      throw unsupported(
          String.format(
              Locale.ROOT,
              "norms by an epsilon of %s, which llama.cpp takes for norms of latent vectors, too,",
              config.rmsNormEps()));
    }
    RopeParameters rotation = rotation();
    if (rotation != null) {
      requireScaling(rotation.scaling());
    }
  }

  /**
   * What llama.cpp derives of attention with latent vectors from the number of layers.
   *
   * @param warnings is told what llama.cpp computes nearly alike
   */
  private void requireLatentsOfLayers(Consumer<String> warnings) {
    if (Math.abs(config.rmsNormEps() - LatentAttention.EPS) > ROUNDING * LatentAttention.EPS) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: llama.cpp normalises latent vectors by rms_norm_eps, %s, and transformers by %s, so that logits"
                  + " differ a little",
              model,
              config.rmsNormEps(),
              LatentAttention.EPS));
    }
    boolean latentQueries = Objects.requireNonNull(config.latentAttention()).queryRank() > 0;
    int layers = config.numHiddenLayers();
    if (latentQueries
        && (layers == 26 || layers == 27 || (layers == 48 && config.vocabSize() == 128_256))) {
      throw unsupported(
          String.format(
              Locale.ROOT,
              "a model with latent vectors of queries and %d layers (llama.cpp takes it for one without, as"
                  + " DeepSeek-V2-Lite; another number of layers can be written)",
              layers));
    }
  }

  /**
   * Tensors have the shapes that llama.cpp expects, and the head is where llama.cpp looks for it.
   */
  private void requireTensors() {
    int heads = config.numAttentionHeads();
    if (family.hasSquareOutput() && heads * config.headDim() != config.hiddenSize()) {
      throw unsupported("heads whose width is not the hidden size divided by their number");
    }
    if (family.hasAlwaysWindow() && window() == 0) {
      throw unsupported("a model without attention windows, in a file of this architecture,");
    }
    if (family.head() == GgufFamily.Head.OWN && config.tieWordEmbeddings()) {
      throw unsupported("a head that is tied to the embedding, in a file of this architecture,");
    }
    if (family.head() == GgufFamily.Head.TIED && !config.tieWordEmbeddings()) {
      throw unsupported(
          "a head that is not tied to the embedding, in a file of this architecture,");
    }
  }

  private void requireBiases() {
    boolean behind = config.outputBias() || config.mlpBias();
    if (family.biases() == GgufFamily.Biases.NONE && behind) {
      throw unsupported("a bias of an output or feed-forward projection");
    }
    boolean feedForward = config.mlpBias() || gate() != null;
    boolean all = config.queryKeyValueBias() && config.outputBias() && feedForward;
    if (family.biases() == GgufFamily.Biases.REQUIRED && !all) {
      throw unsupported("a projection without bias, in a file of this architecture,");
    }
  }

  private void requireScaling(RopeParameters.Scaling scaling) {
    switch (scaling) {
      case RopeParameters.Yarn yarn -> {
        double usual = family.hasLatentAttention() ? 1 : 1 + 0.1 * Math.log(yarn.factor());
        if (yarn.betaFast() != 32
            || yarn.betaSlow() != 1
            || (!yarn.truncate() && !family.hasRoundedYarn())
            || Math.abs(yarn.attentionFactor() - usual) > ROUNDING) {
          throw unsupported(
              family.hasLatentAttention()
                  ? "YaRN with another mscale than mscale_all_dim, or other numbers than its own,"
                  : "YaRN with other factors than its own");
        }
        if (family.hasLatentAttention() && yarn.factor() > 1 && stretchedScores() <= 1) {
          throw unsupported("YaRN without mscale_all_dim, or with one that is not above 0,");
        }
      }
      case RopeParameters.Dynamic _ -> throw unsupported("dynamic scaling of the context");
      case RopeParameters.LongRope _ -> {
        if (!family.hasLongRope()) {
          throw unsupported("LongRoPE in a file of this architecture");
        }
      }
      case RopeParameters.Linear _, RopeParameters.Llama3 _ -> {
        if (family.hasLatentAttention()) {
          throw unsupported("another scaling of the context than YaRN, with latent vectors,");
        }
      }
      case RopeParameters.Default _ -> {}
    }
  }

  private @Nullable RopeParameters rotationOf(int layer) {
    RopeParameters main = rotation();
    boolean windows = window() > 0;
    boolean slides = windows && config.attention().get(layer).window() > 0;
    return main == null
        ? null
        : family.rotation(new GgufFamily.Turn(main, windowTheta(), layer, slides, windows));
  }

  /** The factor on products of queries and keys. */
  private double scoreScale() {
    return 1
        / Math.sqrt(
            (double)
                family.scoreWidth(
                    config.numHiddenLayers(),
                    config.hiddenSize(),
                    config.numAttentionHeads(),
                    config.headDim()));
  }

  private void requireMixtures() {
    Mixture mixture = config.mixture();
    if (mixture == null) {
      return;
    }
    if (gate() != null && !gate().equals(LLAMA_CPP_GATE)) {
      throw unsupported("a clamped gate with other numbers than " + LLAMA_CPP_GATE);
    }
    if (family.hasRouterInMetadata()) {
      if (mixture.layers().lastIndexOf(false) >= mixture.firstWithout()) {
        throw unsupported("layers without a mixture of experts behind others with one");
      }
      return;
    }
    if (mixture.layers().contains(false)) {
      throw unsupported(
          "mixtures of experts in some of the layers, where llama.cpp reads one in each,");
    }
    boolean normalised = family.hasSharesOfChosen();
    if (mixture.router().normalised() != normalised) {
      throw unsupported(
          "a mixture whose shares are a softmax over "
              + (normalised ? "all experts" : "the chosen experts"));
    }
  }

  private @Nullable ClampedGate gate() {
    return config.mixture() == null ? null : config.mixture().gate();
  }

  BadInputException unsupported(String what) {
    return unsupported(model, what);
  }

  static BadInputException unsupported(String model, String what) {
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: %s cannot be written as GGUF; use the folder of Hugging Face's layout",
            model,
            what));
  }
}
