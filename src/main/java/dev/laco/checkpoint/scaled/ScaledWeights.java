package dev.laco.checkpoint.scaled;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.table.StoredType;
import dev.laco.checkpoint.table.TableReader;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The quantisation of a checkpoint whose matrices are stored as float8 or int8 with scales: the
 * method {@code fp8} of transformers, and {@code compressed-tensors} of eight bits. The scales of
 * {@code X.weight} are {@code X.weight_scale_inv} or {@code X.weight_scale}. They may lie in
 * another file. Scales of activations are ignored, since activations are not quantised here.
 */
final class ScaledWeights implements QuantisedWeights {
  /** Formats of compressed-tensors that store a byte for each weight. */
  private static final Set<String> FORMATS =
      Set.of("float-quantized", "int-quantized", "naive-quantized");

  private static final Set<StoredType> CODES =
      Set.of(StoredType.F8_E4M3, StoredType.F8_E5M2, StoredType.I8);

  private static final String SCALE = "_scale";
  private static final String INVERSE = "_scale_inv";
  private static final String ZERO_POINT = "_zero_point";
  private static final Pattern BESIDE =
      Pattern.compile(
          ".*\\.(weight_scale|weight_scale_inv|weight_zero_point"
              + "|(input|output|activation|[qkv])_scale|(input|output)_zero_point)");

  private static final int MAX_ZERO_POINTS = 1 << 20;

  private final DType dtype;
  private final long blockRows;
  private final long blockColumns;
  private final Map<String, HostTensor> scales = new HashMap<>();

  /** What is beside the weights and cannot be read, by its name: what it is. */
  private final Map<String, String> unread = new HashMap<>();

  private ScaledWeights(DType dtype, long blockRows, long blockColumns) {
    this.dtype = dtype;
    this.blockRows = blockRows;
    this.blockColumns = blockColumns;
  }

  /** The quantisation that a config describes; null if it is another, or none. */
  static @Nullable ScaledWeights of(ObjectNode config) {
    JsonNode quantisation = config.path(KEY);
    boolean readable =
        switch (quantisation.path("quant_method").asText()) {
          case "fp8" -> true;
          case "compressed-tensors" -> FORMATS.contains(quantisation.path("format").asText());
          default -> false;
        };
    if (!readable) {
      return null;
    }
    JsonNode block = quantisation.path("weight_block_size");
    return new ScaledWeights(
        QuantisedWeights.dtype(config), block.path(0).asLong(), block.path(1).asLong());
  }

  /** Whether a tensor belongs to the quantisation and is no weight. */
  private static boolean isBeside(String name) {
    return BESIDE.matcher(name).matches();
  }

  @Override
  public Map<String, Path> weights(Map<String, Path> index) {
    Map<String, Path> weights = new LinkedHashMap<>(index);
    weights.keySet().removeIf(ScaledWeights::isBeside);
    return weights;
  }

  @Override
  public TableReader tables(TableReader container) {
    return (file, bytes) -> {
      Map<String, TensorInfo> table = new LinkedHashMap<>();
      for (TensorInfo info : container.read(file, bytes).values()) {
        if (isBeside(info.name())) {
          keep(info, bytes.asSlice(info.offset(), info.byteSize()));
        } else {
          table.put(info.name(), decoded(file, info));
        }
      }
      return table;
    };
  }

  private void keep(TensorInfo info, MemorySegment data) {
    DType type = info.type().dtype();
    if (info.name().endsWith(ZERO_POINT)) {
      if (data.byteSize() > MAX_ZERO_POINTS
          || data.mismatch(MemorySegment.ofArray(new byte[(int) data.byteSize()])) >= 0) {
        unread.put(info.name(), "values with a zero point");
      }
    } else if (type == null) {
      unread.put(info.name(), "scales of type " + info.type().name());
    } else {
      scales.put(info.name(), new HostTensor(info.name(), type, info.shape(), data));
    }
  }

  private TensorInfo decoded(Path file, TensorInfo info) {
    if (!(info.type() instanceof StoredType codes)
        || !CODES.contains(codes)
        || info.shape().size() != 2) {
      return info;
    }
    ScaledMatrix matrix = new ScaledMatrix(this, file, info, codes, dtype);
    return new TensorInfo(
        info.name(),
        new ScaledType(codes.shortName(), dtype),
        info.shape(),
        info.offset(),
        info.byteSize(),
        matrix);
  }

  /**
   * Scales and the blocks that they belong to.
   *
   * @param scales row by row
   * @param across scales in a row of scales
   * @param rows of a block, except that of the last blocks
   * @param columns of a block, except that of the last blocks
   */
  record Blocks(HostTensor scales, long across, long rows, long columns) {}

  /**
   * The blocks of a matrix: the whole matrix where there is one scale, rows where there is one for
   * each, else rectangles.
   *
   * @throws BadInputException if there are no scales, or their shape is none of these
   */
  Blocks blocks(Path file, TensorInfo matrix) {
    String name = matrix.name();
    for (String suffix : List.of(INVERSE, SCALE, ZERO_POINT)) {
      String what = unread.get(name + suffix);
      if (what != null) {
        throw bad(file, name, what + " are not read; take the f32, f16 or bf16 checkpoint");
      }
    }
    HostTensor found = scales.getOrDefault(name + INVERSE, scales.get(name + SCALE));
    if (found == null) {
      throw bad(
          file,
          name,
          String.format(
              Locale.ROOT,
              "is %s and has no scales, which would be '%s_scale' or '_scale_inv'",
              matrix.type().name(),
              Legible.excerpt(name)));
    }
    long rows = matrix.shape().get(0);
    long columns = matrix.shape().get(1);
    List<Long> shape = found.shape();
    if (found.elements() == 1) {
      return new Blocks(found, 1, Math.max(rows, 1), Math.max(columns, 1));
    }
    if (shape.equals(List.of(rows)) || shape.equals(List.of(rows, 1L))) {
      return new Blocks(found, 1, 1, Math.max(columns, 1));
    }
    if (shape.size() == 2) {
      long down = shape.get(0);
      long across = shape.get(1);
      long blockDown = blockRows > 0 ? blockRows : exact(rows, down);
      long blockAcross = blockColumns > 0 ? blockColumns : exact(columns, across);
      if (blockDown > 0
          && blockAcross > 0
          && Math.ceilDiv(rows, blockDown) == down
          && Math.ceilDiv(columns, blockAcross) == across) {
        return new Blocks(found, across, blockDown, blockAcross);
      }
    }
    throw bad(
        file,
        name,
        String.format(
            Locale.ROOT,
            "shape %s has scales of shape %s; expected one for all, for each row, or for each block of %s",
            matrix.shape(),
            shape,
            blockRows > 0 ? List.of(blockRows, blockColumns) : "equal size"));
  }

  private static long exact(long extent, long parts) {
    return parts > 0 && extent % parts == 0 ? extent / parts : 0;
  }

  private static BadInputException bad(Path file, String name, String problem) {
    return new BadInputException(
        String.format(Locale.ROOT, "%s: tensor '%s': %s", file, Legible.excerpt(name), problem));
  }
}
