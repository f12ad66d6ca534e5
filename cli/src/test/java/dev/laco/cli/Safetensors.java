package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.TestFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;

/** A reader of the format that owes nothing to the engine's. */
final class Safetensors {
  private Safetensors() {}

  /** A tensor, row-major, with the number of its extents. */
  record Tensor(String dtype, int rank, byte[] bytes) {
    boolean isMatrix() {
      return rank > 1;
    }

    int elements() {
      return bytes.length / size();
    }

    private int size() {
      return switch (dtype) {
        case "F64" -> 8;
        case "F32" -> 4;
        case "F16", "BF16" -> 2;
        default -> throw new IllegalArgumentException(dtype);
      };
    }

    double value(int i) {
      ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
      return switch (dtype) {
        case "F64" -> buffer.getDouble(8 * i);
        case "F32" -> buffer.getFloat(4 * i);
        case "F16" -> Float.float16ToFloat(buffer.getShort(2 * i));
        default -> Float.intBitsToFloat(buffer.getShort(2 * i) << 16);
      };
    }

    /** One unit in the last place at {@code value}, in the tensor's type. */
    double ulp(double value) {
      int digits = dtype.equals("F32") ? 23 : dtype.equals("F16") ? 10 : 7;
      int lowest = dtype.equals("F16") ? -14 : Float.MIN_EXPONENT;
      return Math.scalb(1, Math.max(Math.getExponent(value), lowest) - digits);
    }
  }

  /** All tensors of a file. */
  static Map<String, Tensor> read(Path file) {
    try {
      byte[] bytes = Files.readAllBytes(file);
      int header = Math.toIntExact(ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong());
      JsonNode table = new ObjectMapper().readTree(bytes, 8, header);
      Map<String, Tensor> tensors = new TreeMap<>();
      table
          .properties()
          .forEach(
              entry -> {
                JsonNode offsets = entry.getValue().path("data_offsets");
                if (!offsets.isMissingNode()) {
                  tensors.put(
                      entry.getKey(),
                      new Tensor(
                          entry.getValue().get("dtype").textValue(),
                          entry.getValue().get("shape").size(),
                          Arrays.copyOfRange(
                              bytes,
                              8 + header + offsets.get(0).intValue(),
                              8 + header + offsets.get(1).intValue())));
                }
              });
      return tensors;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** All tensors of a checkpoint's files. */
  static Map<String, Tensor> readAll(Path model) {
    Map<String, Tensor> tensors = new TreeMap<>();
    TestFiles.names(model).stream()
        .filter(name -> name.endsWith(".safetensors"))
        .forEach(name -> tensors.putAll(read(model.resolve(name))));
    return tensors;
  }
}
