package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * Copies between host and device through a ring of pinned buffers. While the device copies from one
 * buffer, the CPU fills the next, which reads the pages of a mapped checkpoint; kernels run at the
 * same time.
 */
final class Staging {
  private static final int BUFFERS = 4;

  /**
   * Size of a buffer: large enough for the full speed of the bus, and small enough not to pin much
   * memory.
   */
  private static final long BUFFER_BYTES = 8L << 20;

  /** Size of the buffer for results, most of which are small. */
  private static final long RESULT_BYTES = 1L << 20;

  private final CudaDriver driver;
  private final List<Slot> slots = new ArrayList<>();
  private final PinnedBuffer results;
  private int next;

  Staging(CudaContext context) {
    this.driver = context.driver();
    this.results = new PinnedBuffer(context, RESULT_BYTES, "results");
    for (int i = 0; i < BUFFERS; i++) {
      slots.add(
          new Slot(new PinnedBuffer(context, BUFFER_BYTES, "transfers"), new CudaEvent(context)));
    }
  }

  /**
   * Copies to the device, in the order of {@code stream}. The caller may change {@code from}
   * afterwards.
   */
  void upload(MemorySegment from, long to, CudaStream stream) {
    for (long done = 0; done < from.byteSize(); done += BUFFER_BYTES) {
      Slot slot = next();
      MemorySegment part = slot.part(from.byteSize() - done);
      part.copyFrom(from.asSlice(done, part.byteSize()));
      driver.copyToDevice(to + done, part, stream.handle());
      slot.copied.record(stream);
    }
  }

  /** Waits for the work of {@code stream}, then copies from the device. */
  void download(long from, MemorySegment to, CudaStream stream) {
    if (to.byteSize() > RESULT_BYTES) {
      downloadMuch(from, to, stream);
      return;
    }
    MemorySegment part = results.segment().asSlice(0, to.byteSize());
    driver.copyToHost(part, from, stream.handle());
    stream.synchronize();
    to.copyFrom(part);
  }

  /** While the CPU empties a buffer, the device fills the others. */
  private void downloadMuch(long from, MemorySegment to, CudaStream stream) {
    Deque<Runnable> emptied = new ArrayDeque<>();
    for (long done = 0; done < to.byteSize(); done += BUFFER_BYTES) {
      if (emptied.size() == BUFFERS) {
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
            piece.copyFrom(part);
          });
    }
    emptied.forEach(Runnable::run);
  }

  private Slot next() {
    Slot slot = slots.get(next);
    next = (next + 1) % BUFFERS;
    slot.copied.synchronize();
    return slot;
  }

  /**
   * @param copied the event after which the device has read the latest content of the buffer
   */
  private record Slot(PinnedBuffer memory, CudaEvent copied) {
    MemorySegment part(long bytes) {
      return memory.segment().asSlice(0, Math.min(bytes, BUFFER_BYTES));
    }
  }
}
