package dev.laco.checkpoint;

import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import dev.laco.model.GgufWeight.Rows;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.stream.LongStream;

/**
 * Computes a weight of a GGUF file: values of quantised types, rows that lie in another order or in
 * several tensors of the file, and values to which the file adds a number.
 *
 * @param dtype the type of the weight
 * @param pieces the rows of the weight
 * @param added what the file adds to each value, which is F32 then
 */
record GgufRows(DType dtype, List<Piece> pieces, double added) implements TensorInfo.Decoder {
  /**
   * Rows in the file.
   *
   * @param type of their values
   * @param offset of the first, in the bytes that the decoder gets
   * @param columns elements of a row, whole blocks of {@code type}
   */
  record Piece(GgufType type, long offset, long columns, Rows rows) {}

  GgufRows {
    pieces = List.copyOf(pieces);
  }

  @Override
  public void decode(MemorySegment stored, MemorySegment weight) {
    pieces.forEach(piece -> decode(piece, stored, weight));
    for (long i = 0; added != 0 && i < weight.byteSize() / Float.BYTES; i++) {
      float value = weight.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
      weight.setAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i, (float) (value - added));
    }
  }

  private void decode(Piece piece, MemorySegment stored, MemorySegment weight) {
    Rows rows = piece.rows;
    long elements = rows.run() * piece.columns;
    long storedRun = piece.type.bytes(elements);
    LongStream.range(0, rows.count() / rows.run())
        .parallel()
        .forEach(
            run -> {
              long row = rows.of(run * rows.run());
              convert(
                  piece.type,
                  stored.asSlice(piece.offset + run * storedRun, storedRun),
                  weight.asSlice(
                      row * piece.columns * dtype.byteSize(), elements * dtype.byteSize()));
            });
  }

  private void convert(GgufType type, MemorySegment stored, MemorySegment weight) {
    if (type.isQuantised()) {
      type.dequantise(stored, weight);
    } else if (type.dtype() == dtype) {
      weight.copyFrom(stored);
    } else {
      // Types of 16 bits beside others, which are F32.
      for (long i = 0; i < stored.byteSize() / Short.BYTES; i++) {
        short value = stored.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i);
        weight.setAtIndex(
            ValueLayout.JAVA_FLOAT_UNALIGNED,
            i,
            type.dtype() == DType.F16 ? Float.float16ToFloat(value) : DType.bf16ToFloat(value));
      }
    }
  }
}
