package dev.laco.checkpoint.scaled;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.checkpoint.table.TableReader;
import dev.laco.model.DType;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Weights of a folder that are stored as codes, with scales in tensors of their own. */
public sealed interface QuantisedWeights permits ScaledWeights, Mxfp4Weights {
  /** The key of a config that describes the quantisation. */
  String KEY = "quantization_config";

  /** The quantisation that a config describes; null if there is none, or one that is not read. */
  static @Nullable QuantisedWeights of(ObjectNode config) {
    QuantisedWeights experts = Mxfp4Weights.of(config);
    return experts != null ? experts : ScaledWeights.of(config);
  }

  /**
   * Tables of files in which codes are weights, and that lack the tensors beside them.
   *
   * @param container reads the tables as they are in the files
   */
  TableReader tables(TableReader container);

  /** The weights of an index of files, by their names in these tables. */
  Map<String, Path> weights(Map<String, Path> index);

  /** The type of the weights: that of the config, or bf16 where the config has none. */
  static DType dtype(ObjectNode config) {
    String name = config.path("dtype").asText(config.path("torch_dtype").asText());
    return Arrays.stream(DType.values())
        .filter(type -> type.torchName().equals(name))
        .findFirst()
        .orElse(DType.BF16);
  }
}
