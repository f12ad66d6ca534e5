package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Transfers through a ring of pinned buffers. While the device copies one, the processor fills the
 * next, which is where a mapped checkpoint is read; kernels run meanwhile.
 */
final class Staging {
  private static final int BUFFERS = 4;

  /** Large enough for the full speed of the bus, small enough that little is pinned. */
  private static final long BUFFER_BYTES = 8L << 20;

  /** Results are small but for the states of a dump. */
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

  /** Copies to the device in the order of {@code stream}; {@code from} may change afterwards. */
  void upload(MemorySegment from, long to, CudaStream stream) {
    for (long done = 0; done < from.byteSize(); done += BUFFER_BYTES) {
      Slot slot = next();
      MemorySegment part = slot.part(from.byteSize() - done);
      part.copyFrom(from.asSlice(done, part.byteSize()));
      driver.copyToDevice(to + done, part, stream.handle());
      slot.copied.record(stream);
    }
  }

  /** Copies from the device; waits for the work of {@code stream}. */
  void download(long from, MemorySegment to, CudaStream stream) {
    for (long done = 0; done < to.byteSize(); done += RESULT_BYTES) {
      long bytes = Math.min(RESULT_BYTES, to.byteSize() - done);
      MemorySegment part = results.segment().asSlice(0, bytes);
      driver.copyToHost(part, from + done, stream.handle());
      stream.synchronize();
      to.asSlice(done, bytes).copyFrom(part);
    }
  }

  private Slot next() {
    Slot slot = slots.get(next);
    next = (next + 1) % BUFFERS;
    slot.copied.synchronize();
    return slot;
  }

  /**
   * @param copied reached when the device has read what was last put in
   */
  private record Slot(PinnedBuffer memory, CudaEvent copied) {
    MemorySegment part(long bytes) {
      return memory.segment().asSlice(0, Math.min(bytes, BUFFER_BYTES));
    }
  }
}
