package dev.laco.checkpoint.export;

import dev.laco.BadInputException;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.model.DType;
import dev.laco.model.GgufWeight;
import dev.laco.model.GgufWeight.Rows;
import dev.laco.model.GgufWeight.Values;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.util.List;
import java.util.Locale;

/**
 * Makes tensors of a GGUF file of a model's weights.
 *
 * @param model the name of the model, for messages
 */
record GgufTensors(String model, ModelWeights weights) {
  /** Bytes that are converted before they are written. */
  private static final long BUFFER = 8 << 20;

  /**
   * The tensor that holds these weights.
   *
   * @param type of matrices; see {@link #typeOf}
   */
  GgufWriter.Tensor tensor(GgufWeight weight, GgufType type) {
    GgufType written = typeOf(weight, type);
    return new GgufWriter.Tensor(
        weight.name(),
        written,
        weight.shape(),
        target -> {
          for (List<Rows> held : weight.byWeight()) {
            weights.use(
                held.getFirst().weight(),
                values -> {
                  for (Rows rows : held) {
                    convert(values, rows, weight, written, target);
                  }
                });
          }
        });
  }

  /**
   * Bytes of the tensor that holds these weights.
   *
   * @param type of matrices; see {@link #typeOf}
   */
  static long byteSize(GgufWeight weight, GgufType type) {
    return typeOf(weight, type).bytes(GgufWeight.elementsOf(weight.shape()));
  }

  /** Vectors, norms and routers are F32; rows that do not fill blocks are F16. */
  static GgufType typeOf(GgufWeight weight, GgufType type) {
    if (weight.isAlwaysF32()) {
      return GgufType.F32;
    }
    return weight.columns() % type.blockElements() == 0 ? type : GgufType.F16;
  }

  private void convert(
      HostTensor tensor, Rows rows, GgufWeight weight, GgufType to, FileChannel target)
      throws IOException {
    int columns = Math.toIntExact(rows.columns());
    long rowBytes = to.bytes(columns);
    long most = Math.clamp(BUFFER / rowBytes, 1, rows.count());
    float[] values = new float[columns];
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment buffer = arena.allocate(most * rowBytes, Float.BYTES);
      for (long begin = 0; begin < rows.count(); begin += most) {
        long count = Math.min(most, rows.count() - begin);
        for (long i = 0; i < count; i++) {
          read(tensor, rows, begin + i, weight.values(), values);
          if (weight.values() == Values.UNIT_ROWS) {
            divideByLength(values);
          }
          if (!to.write(values, buffer.asSlice(i * rowBytes, rowBytes))) {
            throw new BadInputException(
                String.format(
                    Locale.ROOT,
                    "%s: tensor '%s' has values that %s cannot hold; choose bf16 or f32",
                    model,
                    tensor.name(),
                    to));
          }
        }
        OutputTensor.write(buffer.asSlice(0, count * rowBytes), target);
      }
    }
  }

  private static void divideByLength(float[] row) {
    double squares = 0;
    for (float value : row) {
      squares += (double) value * value;
    }
    for (int i = 0; squares > 0 && i < row.length; i++) {
      row[i] = (float) (row[i] / Math.sqrt(squares));
    }
  }

  /**
   * Reads a row as the file has it, computed in the type of the weight's values, of bf16 in f32.
   */
  private static void read(HostTensor tensor, Rows rows, long row, Values inFile, float[] values) {
    MemorySegment data = tensor.data();
    long begin = rows.begin(row);
    for (int i = 0; i < values.length; i++) {
      long at = begin + rows.inRow(i);
      values[i] =
          switch (tensor.dtype()) {
            case F32 -> (float) inFile.of(data.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, at));
            case F16 -> {
              float value =
                  Float.float16ToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, at));
              yield Float.float16ToFloat(Float.floatToFloat16((float) inFile.of(value)));
            }
            case BF16 ->
                (float)
                    inFile.of(
                        DType.bf16ToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, at)));
          };
    }
  }
}
