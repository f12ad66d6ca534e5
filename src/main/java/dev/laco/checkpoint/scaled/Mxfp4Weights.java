package dev.laco.checkpoint.scaled;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.table.StoredType;
import dev.laco.checkpoint.table.TableReader;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The experts of a gpt-oss checkpoint in MXFP4 (OCP Microscaling Formats, 2023), the method {@code
 * mxfp4} of transformers. A weight {@code X [experts, in, out]} is stored as {@code X_blocks
 * [experts, out, groups, 16]}, 32 codes of four bits in each group, and {@code X_scales [experts,
 * out, groups]}, an exponent for each group. Both may lie in different files.
 */
final class Mxfp4Weights implements QuantisedWeights {
  private static final String METHOD = "mxfp4";
  private static final String BLOCKS = "_blocks";
  private static final String SCALES = "_scales";

  /** Bytes of the codes of a group. */
  static final long GROUP_BYTES = 16;

  private final DType dtype;
  private final Map<String, Scales> scales = new HashMap<>();

  /**
   * The exponents of a tensor.
   *
   * @param exponents one byte each, 127 for the factor 1
   */
  record Scales(List<Long> shape, MemorySegment exponents) {}

  private Mxfp4Weights(DType dtype) {
    this.dtype = dtype;
  }

  /** The quantisation that a config describes; null if it is another, or none. */
  static @Nullable Mxfp4Weights of(ObjectNode config) {
    String method = config.path(KEY).path("quant_method").asText();
    return method.equals(METHOD) ? new Mxfp4Weights(QuantisedWeights.dtype(config)) : null;
  }

  @Override
  public TableReader tables(TableReader container) {
    return (file, bytes) -> {
      Map<String, TensorInfo> table = new LinkedHashMap<>();
      for (TensorInfo info : container.read(file, bytes).values()) {
        if (info.type() == StoredType.U8 && info.name().endsWith(SCALES)) {
          scales.put(
              info.name(), new Scales(info.shape(), bytes.asSlice(info.offset(), info.byteSize())));
        } else {
          TensorInfo weight = decoded(file, info);
          table.put(weight.name(), weight);
        }
      }
      return table;
    };
  }

  @Override
  public Map<String, Path> weights(Map<String, Path> index) {
    Map<String, Path> weights = new LinkedHashMap<>();
    index.forEach(
        (name, path) -> {
          if (!name.endsWith(SCALES)) {
            weights.put(weight(name), path);
          }
        });
    return weights;
  }

  private static String weight(String name) {
    return name.endsWith(BLOCKS) ? name.substring(0, name.length() - BLOCKS.length()) : name;
  }

  private TensorInfo decoded(Path file, TensorInfo info) {
    List<Long> shape = info.shape();
    if (info.type() != StoredType.U8 || !info.name().endsWith(BLOCKS)) {
      return info;
    }
    if (shape.size() != 4 || shape.getLast() != GROUP_BYTES || shape.contains(0L)) {
      throw bad(
          file, info.name(), "has shape " + shape + ", not [experts, rows, groups, 16] above 0");
    }
    return new TensorInfo(
        weight(info.name()),
        new ScaledType(METHOD, dtype),
        List.of(shape.get(0), Math.multiplyExact(shape.get(2), 2 * GROUP_BYTES), shape.get(1)),
        info.offset(),
        info.byteSize(),
        new Mxfp4Experts(this, file, weight(info.name()), shape, dtype));
  }

  /**
   * The scales of a weight.
   *
   * @param blocks the shape of its codes
   * @throws BadInputException if there are none, or their shape is another
   */
  MemorySegment scales(Path file, String weight, List<Long> blocks) {
    Scales found = scales.get(weight + SCALES);
    if (found == null) {
      throw bad(file, weight + BLOCKS, "has no scales, which would be '" + weight + SCALES + "'");
    }
    if (!found.shape().equals(blocks.subList(0, 3))) {
      throw bad(
          file,
          weight + SCALES,
          "has shape " + found.shape() + ", expected " + blocks.subList(0, 3));
    }
    return found.exponents();
  }

  private static BadInputException bad(Path file, String name, String problem) {
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: tensor '%s' %s",
            file,
            Legible.excerpt(name),
            Legible.excerpt(problem)));
  }
}
