package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;

/**
 * Tables that kernels read: written to pinned memory and copied to the same place of a device
 * buffer, in the order of the compute stream. Room is reused once the stream was waited for, so
 * that a trial, which ends by waiting, needs no events. One that fills the ring waits by itself.
 */
final class ArgumentRing {
  private static final long BYTES = 1L << 20;
  private static final long ALIGNMENT = 64;

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

  /** Room for a table of {@code bytes}. */
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
    if (bytes > device.bytes()) {
      host.close();
      device.close();
      host = new PinnedBuffer(context, bytes, "kernel arguments");
      device = new DeviceBuffer(context, bytes, "kernel arguments");
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

    /** Where the caller writes. */
    MemorySegment memory() {
      return memory;
    }

    /** Where a kernel will find it. */
    long address() {
      return address;
    }

    /** Copies it to the device. */
    void send() {
      context.driver().copyToDevice(address, memory, stream.handle());
    }
  }
}
