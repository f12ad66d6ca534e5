package dev.laco.checkpoint;

import dev.laco.BadInputException;
import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.stream.LongStream;

/**
 * Finds weights that are NaN or infinite. A float is one or the other exactly when all bits of its
 * exponent are set; adding the exponent's lowest bit then carries into the sign's place, and never
 * otherwise. So eight bytes are tested at a time, whatever the type.
 */
public final class FiniteCheck {
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;
  private static final long CHUNK = 1L << 20;

  private FiniteCheck() {}

  /** A part of a tensor that is read at once. */
  private record Chunk(SafetensorsFile file, TensorInfo info, long offset) {
    /** Index in the tensor of the first element that is NaN or infinite, or -1. */
    long firstNonFinite() {
      DType dtype = file.requireWeight(info);
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment data = arena.allocate(Math.min(CHUNK, info.byteSize() - offset));
        file.read(info, offset, data.asByteBuffer());
        long index = FiniteCheck.firstNonFinite(dtype, data);
        return index < 0 ? -1 : offset / dtype.byteSize() + index;
      }
    }
  }

  /**
   * Reads a tensor, on all cores, through small buffers: unlike mapped pages, what was read does
   * not stay in the process's memory.
   *
   * @throws BadInputException naming file, tensor and index of the first element that is not finite
   */
  static void require(SafetensorsFile file, String name) {
    TensorInfo info = file.info(name);
    LongStream.range(0, Math.ceilDiv(info.byteSize(), CHUNK))
        .parallel()
        .mapToObj(chunk -> new Chunk(file, info, chunk * CHUNK))
        .filter(chunk -> chunk.firstNonFinite() >= 0)
        .findFirst()
        .ifPresent(FiniteCheck::fail);
  }

  private static void fail(Chunk chunk) {
    throw new BadInputException(
        "%s: tensor '%s' holds NaN or infinity at element %d of %d; the checkpoint is damaged"
            .formatted(
                chunk.file.path(),
                chunk.info.name(),
                chunk.firstNonFinite(),
                chunk.info.elements()));
  }

  /** Index of the first element that is NaN or infinite, or -1. */
  public static long firstNonFinite(DType dtype, MemorySegment data) {
    // Blocks first, without a branch per word; only a block that has one is searched.
    long block = 1L << 16;
    for (long offset = 0; offset < data.byteSize(); offset += block) {
      MemorySegment slice = data.asSlice(offset, Math.min(block, data.byteSize() - offset));
      if (holdsNonFinite(dtype, slice)) {
        int size = dtype.byteSize();
        long i = 0;
        while (!holdsNonFinite(dtype, slice.asSlice(i * size, size))) {
          i++;
        }
        return offset / size + i;
      }
    }
    return -1;
  }

  private static boolean holdsNonFinite(DType dtype, MemorySegment data) {
    long exponent =
        switch (dtype) {
          case F32 -> 0x7f800000_7f800000L;
          case F16 -> 0x7c007c00_7c007c00L;
          case BF16 -> 0x7f807f80_7f807f80L;
        };
    long sign = dtype == DType.F32 ? 0x80000000_80000000L : 0x80008000_80008000L;
    // In each element: the sign's place less the exponent is the exponent's lowest bit.
    long lowest = sign - exponent;
    long carried = 0;
    long whole = data.byteSize() & -Long.BYTES;
    for (long i = 0; i < whole; i += Long.BYTES) {
      carried |= (data.get(LONG, i) & exponent) + lowest;
    }
    long tail = 0;
    for (long i = whole; i < data.byteSize(); i++) {
      tail |= (data.get(ValueLayout.JAVA_BYTE, i) & 0xffL) << ((i - whole) * Byte.SIZE);
    }
    carried |= (tail & exponent) + lowest;
    return (carried & sign) != 0;
  }
}
