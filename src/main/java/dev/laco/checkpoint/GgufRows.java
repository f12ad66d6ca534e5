package dev.laco.checkpoint;

import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.checkpoint.table.TensorInfo;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.stream.LongStream;

/**
 * Computes a weight of a GGUF file: values of a quantised type, rows in the order of Hugging Face's
 * checkpoints, and values to which the file adds a number.
 *
 * @param type the type in the file
 * @param rows of the tensor; elements of a vector
 * @param heads whose rows are interleaved, of {@code rows / heads} rows each; 0 where the order is
 *     the same (see {@link dev.laco.model.GgufWeight})
 * @param added what the file adds to each value, which is F32 then
 */
record GgufRows(GgufType type, long rows, int heads, double added) implements TensorInfo.Decoder {
  @Override
  public void decode(MemorySegment stored, MemorySegment weight) {
    if (heads == 0) {
      convert(stored, weight);
      return;
    }
    long storedRow = stored.byteSize() / rows;
    long weightRow = weight.byteSize() / rows;
    LongStream.range(0, rows)
        .parallel()
        .forEach(
            row ->
                convert(
                    stored.asSlice(interleaved(row) * storedRow, storedRow),
                    weight.asSlice(row * weightRow, weightRow)));
  }

  /** Where the file has a row: behind row {@code i} of a head's first half, its partner. */
  private long interleaved(long row) {
    long width = rows / heads;
    long half = width / 2;
    long inHead = row % width;
    return row - inHead + inHead % half * 2 + inHead / half;
  }

  private void convert(MemorySegment stored, MemorySegment weight) {
    if (type.isQuantised()) {
      type.dequantise(stored, weight);
    } else {
      weight.copyFrom(stored);
    }
    for (long i = 0; added != 0 && i < weight.byteSize() / Float.BYTES; i++) {
      float value = weight.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
      weight.setAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i, (float) (value - added));
    }
  }
}
