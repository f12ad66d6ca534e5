package dev.laco.checkpoint;

import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import dev.laco.model.GgufWeight.Rows;
import dev.laco.model.GgufWeight.Values;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.stream.LongStream;

/**
 * Computes a weight of a GGUF file: values of quantised types, rows that lie in another order or in
 * several tensors of the file, and values in whose place the file has others.
 *
 * @param dtype the type of the weight
 * @param pieces the rows of the weight
 * @param values what the file has in their place; the weight is F32 where these {@link
 *     Values#areOfEach}
 */
record GgufRows(DType dtype, List<Piece> pieces, Values values) implements TensorInfo.Decoder {
  /** Rows that are columns of the weight are computed so many at a time, for the caches. */
  private static final int TILE = 32;

  /**
   * Rows in the file, each of whole blocks of {@code type}.
   *
   * @param type of their values
   * @param offset of the first, in the bytes that the decoder gets
   */
  record Piece(GgufType type, long offset, Rows rows) {}

  GgufRows {
    pieces = List.copyOf(pieces);
  }

  @Override
  public void decode(MemorySegment stored, MemorySegment weight) {
    pieces.forEach(piece -> decode(piece, stored, weight));
    for (long i = 0; values.areOfEach() && i < weight.byteSize() / Float.BYTES; i++) {
      float value = weight.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
      weight.setAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i, (float) values.inverse(value));
    }
  }

  private void decode(Piece piece, MemorySegment stored, MemorySegment weight) {
    Rows rows = piece.rows;
    if (!rows.isStraight()) {
      decodeSpread(piece, stored, weight);
      return;
    }
    long elements = rows.run() * rows.columns();
    long storedRun = piece.type.bytes(elements);
    LongStream.range(0, rows.count() / rows.run())
        .parallel()
        .forEach(
            run ->
                convert(
                    piece.type,
                    stored.asSlice(piece.offset + run * storedRun, storedRun),
                    weight.asSlice(
                        rows.begin(run * rows.run()) * dtype.byteSize(),
                        elements * dtype.byteSize())));
  }

  /** Computes rows whose elements lie apart in the weight. */
  private void decodeSpread(Piece piece, MemorySegment stored, MemorySegment weight) {
    Rows rows = piece.rows;
    int columns = Math.toIntExact(rows.columns());
    long storedRow = piece.type.bytes(columns);
    LongStream.range(0, Math.ceilDiv(rows.count(), TILE))
        .parallel()
        .forEach(
            tile -> {
              long first = tile * TILE;
              int count = (int) Math.min(TILE, rows.count() - first);
              MemorySegment values =
                  MemorySegment.ofArray(new byte[count * columns * dtype.byteSize()]);
              convert(
                  piece.type,
                  stored.asSlice(piece.offset + first * storedRow, count * storedRow),
                  values);
              for (int column = 0; column < columns; column++) {
                long inRow = rows.inRow(column);
                for (int row = 0; row < count; row++) {
                  long to = rows.begin(first + row) + inRow;
                  MemorySegment.copy(
                      values,
                      (long) (row * columns + column) * dtype.byteSize(),
                      weight,
                      to * dtype.byteSize(),
                      dtype.byteSize());
                }
              }
            });
  }

  private void convert(GgufType type, MemorySegment stored, MemorySegment weight) {
    if (type.isQuantised()) {
      type.dequantise(stored, dtype, weight);
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
