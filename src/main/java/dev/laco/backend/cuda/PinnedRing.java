package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.stream.LongStream;

/**
 * Pinned buffers of one size through which large copies between host and device go, piece by piece:
 * while the device reads or writes one buffer, the CPU fills or empties another. For one thread at
 * a time.
 */
final class PinnedRing {
  /** Bytes that a thread copies at once. */
  private static final long THREAD_BYTES = 1L << 20;

  /** Is never started: memory that it may use belongs to no thread. */
  private static final Thread OTHER = new Thread();

  private final CudaDriver driver;
  private final long bytes;
  private final List<Slot> slots = new ArrayList<>();
  private int next;

  /**
   * Allocates the buffers.
   *
   * @param bytes size of each
   */
  PinnedRing(CudaContext context, int count, long bytes) {
    this.driver = context.driver();
    this.bytes = bytes;
    for (int i = 0; i < count; i++) {
      slots.add(new Slot(new PinnedBuffer(context, bytes, "transfers"), new CudaEvent(context)));
    }
  }

  /**
   * Copies to the device, in the order of {@code stream}. The caller may change {@code from}
   * afterwards.
   */
  void upload(MemorySegment from, long to, CudaStream stream) {
    for (long done = 0; done < from.byteSize(); done += bytes) {
      Slot slot = next();
      MemorySegment part = slot.part(from.byteSize() - done);
      copy(from.asSlice(done, part.byteSize()), part);
      driver.copyToDevice(to + done, part, stream.handle());
      slot.copied.record(stream);
    }
  }

  /** Waits for the work of {@code stream}, then copies from the device. */
  void download(long from, MemorySegment to, CudaStream stream) {
    Deque<Runnable> emptied = new ArrayDeque<>();
    for (long done = 0; done < to.byteSize(); done += bytes) {
      if (emptied.size() == slots.size()) {
        emptied.remove().run();
      }
      Slot slot = next();
      MemorySegment part = slot.part(to.byteSize() - done);
      driver.copyToHost(part, from + done, stream.handle());
      slot.copied.record(stream);
      MemorySegment piece = to.asSlice(done, part.byteSize());
      emptied.add(
          () -> {
            slot.copied.synchronize();
            copy(part, piece);
          });
    }
    emptied.forEach(Runnable::run);
  }

  /** The next buffer, once the device is done with it. */
  private Slot next() {
    Slot slot = slots.get(next);
    next = (next + 1) % slots.size();
    slot.copied.synchronize();
    return slot;
  }

  /** Copies on several threads: one alone is slower than the bus. */
  private static void copy(MemorySegment from, MemorySegment to) {
    if (!from.isAccessibleBy(OTHER) || !to.isAccessibleBy(OTHER)) {
      to.copyFrom(from);
      return;
    }
    LongStream.range(0, Math.ceilDiv(from.byteSize(), THREAD_BYTES))
        .parallel()
        .map(part -> part * THREAD_BYTES)
        .forEach(
            at -> {
              long part = Math.min(THREAD_BYTES, from.byteSize() - at);
              to.asSlice(at, part).copyFrom(from.asSlice(at, part));
            });
  }

  /**
   * @param copied the event after which the device has read or written the latest content of the
   *     buffer
   */
  private record Slot(PinnedBuffer memory, CudaEvent copied) {
    MemorySegment part(long bytes) {
      MemorySegment all = memory.segment();
      return all.asSlice(0, Math.min(bytes, all.byteSize()));
    }
  }
}
