package dev.laco.bench.gpu;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The arguments of a kernel, in the order of its parameters. */
final class Arguments {
  private static final long MOST_BYTES = 256;

  // Keys of cuLaunchKernel's extra array.
  private static final long PARAM_END = 0;
  private static final long PARAM_BUFFER_POINTER = 1;
  private static final long PARAM_BUFFER_SIZE = 2;

  private final MemorySegment slab = MemorySegment.ofArray(new long[(int) MOST_BYTES / 8]);
  private long end;

  /** A device address, 0 for none. */
  Arguments pointer(long address) {
    return int64(address);
  }

  /** Where a tensor lies. */
  Arguments pointer(Tensor tensor) {
    return int64(BenchDevice.address(tensor));
  }

  Arguments int64(long value) {
    slab.set(JAVA_LONG, place(Long.BYTES), value);
    return this;
  }

  Arguments int32(long value) {
    slab.set(JAVA_INT, place(Integer.BYTES), Math.toIntExact(value));
    return this;
  }

  Arguments float32(double value) {
    slab.set(JAVA_FLOAT, place(Float.BYTES), (float) value);
    return this;
  }

  Arguments float64(double value) {
    slab.set(JAVA_DOUBLE, place(Double.BYTES), value);
    return this;
  }

  private long place(long bytes) {
    long at = Math.ceilDiv(end, bytes) * bytes;
    end = at + bytes;
    return at;
  }

  /** The {@code extra} array of {@code cuLaunchKernel}, with what it points to. */
  MemorySegment pack(Arena arena) {
    MemorySegment packed = arena.allocate(MOST_BYTES, 16);
    packed.copyFrom(slab);
    MemorySegment size = arena.allocate(JAVA_LONG);
    size.set(JAVA_LONG, 0, end);
    MemorySegment extra = arena.allocate(ADDRESS, 5);
    extra.setAtIndex(JAVA_LONG, 0, PARAM_BUFFER_POINTER);
    extra.setAtIndex(ADDRESS, 1, packed);
    extra.setAtIndex(JAVA_LONG, 2, PARAM_BUFFER_SIZE);
    extra.setAtIndex(ADDRESS, 3, size);
    extra.setAtIndex(JAVA_LONG, 4, PARAM_END);
    return extra;
  }
}
