package dev.laco.checkpoint;

import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.Architecture;
import dev.laco.model.ElementType;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The tensors that an architecture and a config imply, and the check that a checkpoint has exactly
 * these. A missing tensor and a surplus tensor are errors here, while some loaders only warn.
 */
final class TensorTable {
  private static final Pattern QUANTISED =
      Pattern.compile(
          ".*\\.(qweight|qzeros|scales|g_idx|absmax|quant_map|quant_state.*"
              + "|weight_scale|weight_scale_inv|input_scale|weight_packed|SCB)");

  private TensorTable() {}

  /** The shape of each tensor by name, in the order in which a forward pass uses the tensors. */
  static SequencedMap<String, List<Long>> expected(ModelConfig config) {
    Architecture architecture = config.architecture();
    List<Long> vocabulary = List.of((long) config.vocabSize(), (long) config.hiddenSize());
    SequencedMap<String, List<Long>> shapes = new LinkedHashMap<>();
    shapes.put(architecture.embedding(), vocabulary);
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      for (TensorSpec spec : architecture.layerTensors(config, layer)) {
        shapes.put(architecture.tensorName(layer, spec), spec.shape());
      }
    }
    for (String norm : architecture.finalNormTensors()) {
      shapes.put(norm, List.of((long) config.hiddenSize()));
    }
    if (!config.tieWordEmbeddings()) {
      shapes.put(architecture.head(), vocabulary);
    }
    return shapes;
  }

  /**
   * Checks that a checkpoint holds exactly the tensors that its config calls for, in types with
   * which the engine computes.
   *
   * @param fileOf the file of every tensor
   * @throws BadInputException naming file, tensor, what was expected and what was found
   */
  static void check(String directory, ModelConfig config, Map<String, WeightFile> fileOf) {
    fileOf.forEach(TensorTable::refuseQuantised);
    checkDepth(directory, config, fileOf);
    SequencedMap<String, List<Long>> expected = expected(config);
    expected.forEach((name, shape) -> checkTensor(directory, name, shape, fileOf.get(name)));
    fileOf.forEach(
        (name, file) -> {
          if (isKeptBeside(name, config)) {
            file.requireWeight(file.info(name));
          } else if (!expected.containsKey(name) && !ignorable(name, config)) {
            throw new BadInputException(
                String.format(
                    Locale.ROOT,
                    "%s: tensor '%s' is not part of a %s with this config",
                    file.path(),
                    Legible.excerpt(name),
                    config.architecture().className()));
          }
        });
  }

  /**
   * Whether a tensor is not of the language model, or predicts tokens beyond the next one, and
   * stays as it is.
   */
  static boolean isKeptBeside(String name, ModelConfig config) {
    return (config.architecture().isBeside(name) && !isIndex(name))
        || config.architecture().isOfPrediction(name, config);
  }

  /** Whether a tensor numbers the positions of an encoder, as older versions of transformers. */
  private static boolean isIndex(String name) {
    return name.endsWith(".position_ids");
  }

  /**
   * Whether a surplus tensor has no effect: a buffer that older versions of transformers saved, or
   * the copy of a tied embedding.
   */
  private static boolean ignorable(String name, ModelConfig config) {
    return config.architecture().isBuffer(name)
        || (config.architecture().isMultimodal() && isIndex(name))
        || (config.tieWordEmbeddings() && name.equals(config.architecture().head()));
  }

  private static void refuseQuantised(String name, WeightFile file) {
    ElementType type = file.info(name).type();
    if (QUANTISED.matcher(name).matches() || (type.isQuantised() && type.dtype() == null)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s' (%s) is part of a quantised model; use the original f32, f16 or bf16 checkpoint",
              file.path(),
              Legible.excerpt(name),
              type));
    }
  }

  private static void checkDepth(
      String directory, ModelConfig config, Map<String, WeightFile> fileOf) {
    TreeMap<Integer, String> layers = new TreeMap<>();
    for (String name : fileOf.keySet()) {
      config.architecture().layerOf(name).ifPresent(layer -> layers.putIfAbsent(layer, name));
    }
    int depth = config.numHiddenLayers();
    for (int layer = 0; layer < depth; layer++) {
      if (!layers.containsKey(layer)) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: layer %d is missing: config.json says num_hidden_layers %d, found tensors of %d layers",
                directory,
                layer,
                depth,
                layers.size()));
      }
    }
    Map.Entry<Integer, String> surplus = layers.ceilingEntry(depth + config.predictionLayers());
    if (surplus != null) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s' belongs to layer %d, but config.json says num_hidden_layers %d",
              directory,
              Legible.excerpt(surplus.getValue()),
              surplus.getKey(),
              depth));
    }
  }

  private static void checkTensor(
      String directory, String name, List<Long> shape, @Nullable WeightFile file) {
    if (file == null) {
      throw new BadInputException(
          String.format(Locale.ROOT, "%s: tensor '%s' is missing", directory, name));
    }
    TensorInfo info = file.info(name);
    if (!info.shape().equals(shape)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s' has shape %s, but config.json calls for %s",
              file.path(),
              Legible.excerpt(name),
              info.shape(),
              shape));
    }
    file.requireWeight(info);
    if (info.decoder() != null) {
      info.decoder().check();
    }
  }
}
