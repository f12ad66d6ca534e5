package dev.laco.checkpoint.export;

import dev.laco.BadInputException;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.model.DType;
import dev.laco.model.GgufWeight;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.util.ArrayList;
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
    List<Long> shape = new ArrayList<>(weight.shape());
    if (weight.stacked()) {
      shape.addFirst((long) weight.weights().size());
    }
    GgufType written = typeOf(weight, type);
    return new GgufWriter.Tensor(
        weight.name(),
        written,
        shape,
        target -> {
          for (String name : weight.weights()) {
            weights.use(name, values -> convert(values, weight, written, target));
          }
        });
  }

  /** Vectors and routers are F32; rows that do not fill blocks are F16. */
  static GgufType typeOf(GgufWeight weight, GgufType type) {
    List<Long> shape = weight.shape();
    if (shape.size() < 2 || weight.router()) {
      return GgufType.F32;
    }
    return shape.getLast() % type.blockElements() == 0 ? type : GgufType.F16;
  }

  private void convert(HostTensor tensor, GgufWeight weight, GgufType to, FileChannel target)
      throws IOException {
    int heads = weight.interleavedHeads();
    boolean vector = tensor.shape().size() < 2;
    // The elements of a vector are rows where their order changes.
    int columns =
        Math.toIntExact(
            vector && heads == 0 ? tensor.elements() : vector ? 1 : tensor.shape().getLast());
    long rows = tensor.elements() / columns;
    long rowBytes = (long) columns / to.blockElements() * to.blockBytes();
    long most = Math.clamp(BUFFER / rowBytes, 1, rows);
    float[] values = new float[columns];
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment buffer = arena.allocate(most * rowBytes, Float.BYTES);
      for (long begin = 0; begin < rows; begin += most) {
        long count = Math.min(most, rows - begin);
        for (long i = 0; i < count; i++) {
          read(tensor, source(begin + i, rows, heads) * columns, weight.added(), values);
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

  /** The row of the checkpoint that a file has as this row; see {@link GgufWeight}. */
  private static long source(long row, long rows, int heads) {
    if (heads == 0) {
      return row;
    }
    long width = rows / heads;
    long inHead = row % width;
    return row - inHead + inHead % 2 * (width / 2) + inHead / 2;
  }

  /** Reads values, and adds a number in the type of the values, of bf16 in f32. */
  private static void read(HostTensor tensor, long begin, double added, float[] values) {
    MemorySegment data = tensor.data();
    for (int i = 0; i < values.length; i++) {
      values[i] =
          switch (tensor.dtype()) {
            case F32 ->
                (float) (data.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, begin + i) + added);
            case F16 -> {
              float value =
                  Float.float16ToFloat(
                      data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, begin + i));
              yield added == 0
                  ? value
                  : Float.float16ToFloat(Float.floatToFloat16((float) (value + added)));
            }
            case BF16 ->
                (float)
                    (DType.bf16ToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, begin + i))
                        + added);
          };
    }
  }
}
