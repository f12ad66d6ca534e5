package dev.laco.apply;

import dev.laco.model.GgufFamily;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.SequencedMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Compares the config of a model with the config that is read from the GGUF file of that model. The
 * two need not be equal: several families share a kind of file, numbers are f32 in a file, a file
 * has the factors of Llama 3's rotary scaling and not the parameters of that scaling, and a head
 * whose rows the engine divides by their lengths ({@link ModelConfig#unitHead}) has such rows
 * there.
 */
final class GgufDifference {
  /** The relative difference that rounding to f32, and computing with the result, may make. */
  private static final double ROUNDING = 1e-6;

  private GgufDifference() {}

  /** What differs first, with both values; null where the file is that of the model. */
  static @Nullable String of(ModelConfig expected, ModelConfig found) {
    SequencedMap<String, List<?>> wanted = parts(expected);
    SequencedMap<String, List<?>> read = parts(found);
    return wanted.keySet().stream()
        .filter(part -> !areEqual(wanted.get(part), read.get(part)))
        .findFirst()
        .map(
            part ->
                String.format(Locale.ROOT, "%s %s, not %s", part, read.get(part), wanted.get(part)))
        .orElse(null);
  }

  private static boolean areEqual(@Nullable List<?> expected, @Nullable List<?> found) {
    if (expected == null || found == null || expected.size() != found.size()) {
      return false;
    }
    return IntStream.range(0, expected.size())
        .allMatch(i -> areEqual(expected.get(i), found.get(i)));
  }

  private static boolean areEqual(Object expected, Object found) {
    if ((expected instanceof Double a) && (found instanceof Double b)) {
      return Math.abs(a - b) <= ROUNDING * Math.max(Math.abs(a), Math.abs(b));
    }
    return expected.equals(found);
  }

  /**
   * All that a file tells of a model, by names for people: numbers that it has in f32 as doubles.
   */
  private static SequencedMap<String, List<?>> parts(ModelConfig config) {
    SequencedMap<String, List<?>> parts = new LinkedHashMap<>();
    parts.put(
        "architecture",
        config.architecture().gguf().map(GgufFamily::name).map(List::of).orElse(List.of()));
    parts.put("layers", List.of(config.numHiddenLayers()));
    parts.put(
        "sizes",
        List.of(
            config.hiddenSize(),
            config.intermediateSize(),
            config.vocabSize(),
            config.maxPositionEmbeddings()));
    parts.put(
        "heads", List.of(config.numAttentionHeads(), config.numKeyValueHeads(), config.headDim()));
    parts.put("latent vectors", Stream.ofNullable(config.latentAttention()).toList());
    parts.put(
        "tensors",
        List.of(
            config.queryKeyValueBias(),
            config.outputBias(),
            config.mlpBias(),
            config.queryKeyNorm(),
            config.tieWordEmbeddings()));
    parts.put(
        "form",
        List.of(config.hiddenAct(), config.parallel(), config.alibi(), config.rotaryPairs()));
    parts.put("experts", Stream.ofNullable(config.mixture()).toList());
    parts.put(
        "scales",
        List.of(
            config.rmsNormEps(),
            config.embeddingScale(),
            config.residualScale(),
            config.attentionScores().scale(),
            config.attentionScores().softCap(),
            config.logits().scale(),
            config.logits().softCap()));
    parts.put("windows", config.attention().stream().map(layer -> window(config, layer)).toList());
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      RopeParameters rotation = config.attention().get(layer).rotation();
      parts.put(
          "rotation of layer " + layer,
          rotation == null ? List.of() : rotation(rotation, config.rotaryDim()));
    }
    return parts;
  }

  /** A window as wide as the context is none. */
  private static int window(ModelConfig config, LayerAttention layer) {
    return layer.window() < config.maxPositionEmbeddings() ? layer.window() : 0;
  }

  private static List<?> rotation(RopeParameters rotation, int rotaryDim) {
    int width = rotation.rotated(rotaryDim);
    Stream<?> scaling =
        switch (rotation.scaling()) {
          case RopeParameters.Default _ -> Stream.of("none");
          case RopeParameters.Linear linear -> Stream.of("linear", linear.factor());
          case RopeParameters.Dynamic dynamic ->
              Stream.of("dynamic", dynamic.factor(), dynamic.originalPositions());
          case RopeParameters.Llama3 llama3 -> llama3.factors(rotation.theta(), width).stream();
          case RopeParameters.Yarn yarn ->
              Stream.of(
                  "yarn",
                  yarn.factor(),
                  yarn.attentionFactor(),
                  yarn.betaFast(),
                  yarn.betaSlow(),
                  yarn.truncate(),
                  yarn.originalPositions());
          case RopeParameters.LongRope longRope ->
              Stream.of(
                      Stream.of(longRope.attentionFactor(), longRope.originalPositions()),
                      longRope.shortFactors().stream(),
                      longRope.longFactors().stream())
                  .flatMap(parts -> parts);
        };
    return Stream.concat(Stream.of(width, rotation.theta()), scaling).toList();
  }
}
