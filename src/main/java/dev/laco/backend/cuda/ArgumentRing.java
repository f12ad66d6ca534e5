package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;

/**
 * Memory for tables of arguments that kernels read. A table is written to pinned host memory and
 * copied to the same offset of a device buffer, in the order of the compute stream. Once somebody
 * has waited for the stream, all of the memory is used again; a scoring pass ends by such a wait,
 * so that no events are needed. If the memory is full before that, {@link #table} waits, and makes
 * room for as many tables as there are in a few layers.
 */
final class ArgumentRing {
  private static final long BYTES = 1L << 20;
  private static final long ALIGNMENT = 64;

  /** How many of its largest tables the memory has room for, so that few of them wait. */
  private static final long LARGEST = 16;

  private final CudaContext context;
  private final CudaStream stream;
  private PinnedBuffer host;
  private DeviceBuffer device;
  private long end;
  private long seen;

  ArgumentRing(CudaContext context, CudaStream stream) {
    this.context = context;
    this.stream = stream;
    this.host = new PinnedBuffer(context, BYTES, "kernel arguments");
    this.device = new DeviceBuffer(context, BYTES, "kernel arguments");
  }

  /** Memory for a table of {@code bytes}. */
  Table table(long bytes) {
    if (seen != stream.synchronizations()) {
      seen = stream.synchronizations();
      end = 0;
    }
    if (end + bytes > device.bytes()) {
      stream.synchronize();
      seen = stream.synchronizations();
      end = 0;
      grow(bytes);
    }
    long start = end;
    end = (start + bytes + ALIGNMENT - 1) & -ALIGNMENT;
    return new Table(host.segment().asSlice(start, bytes), device.address() + start);
  }

  private void grow(long bytes) {
    long room = LARGEST * bytes;
    if (room > device.bytes()) {
      host.close();
      device.close();
      host = new PinnedBuffer(context, room, "kernel arguments");
      device = new DeviceBuffer(context, room, "kernel arguments");
    }
  }

  /** A table that is being written. */
  final class Table {
    private final MemorySegment memory;
    private final long address;

    private Table(MemorySegment memory, long address) {
      this.memory = memory;
      this.address = address;
    }

    /** The host memory, to which the caller writes. */
    MemorySegment memory() {
      return memory;
    }

    /** The device address, at which kernels find the table. */
    long address() {
      return address;
    }

    /** Copies the table to the device. */
    void send() {
      context.driver().copyToDevice(address, memory, stream.handle());
    }
  }
}
