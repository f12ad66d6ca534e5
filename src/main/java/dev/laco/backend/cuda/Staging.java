package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * Copies between host and device through a ring of pinned buffers. While the device copies from one
 * buffer, the CPU fills the next, which reads the pages of a mapped checkpoint; kernels run at the
 * same time.
 */
final class Staging {
  private static final int UPLOADS = 4;

  /**
   * Size of a buffer for uploads: large enough for the full speed of the bus, and small enough not
   * to pin much memory.
   */
  private static final long UPLOAD_BYTES = 8L << 20;

  private static final int DOWNLOADS = 2;

  /** Size of a buffer for tensors that come back: each piece is one more wait of the host. */
  private static final long DOWNLOAD_BYTES = 32L << 20;

  /** Bytes that a thread copies at once. */
  private static final long THREAD_BYTES = 1L << 20;

  /** Is never started: memory that it may use belongs to no thread. */
  private static final Thread OTHER = new Thread();

  /** Size of the buffer for results, most of which are small. */
  private static final long RESULT_BYTES = 1L << 20;

  private final CudaContext context;
  private final CudaDriver driver;
  private final @Nullable WeightChecks checks;
  private final Ring uploads;
  private final PinnedBuffer results;

  /** Made when it is first needed: most jobs get small results only. */
  private @Nullable Ring downloads;

  /** Copies where no weights are checked. */
  Staging(CudaContext context) {
    this(context, null);
  }

  /**
   * The same.
   *
   * @param checks what they found comes to the host with each result
   */
  Staging(CudaContext context, @Nullable WeightChecks checks) {
    this.context = context;
    this.checks = checks;
    this.driver = context.driver();
    this.results = new PinnedBuffer(context, RESULT_BYTES, "results");
    this.uploads = new Ring(context, UPLOADS, UPLOAD_BYTES);
  }

  /**
   * Copies to the device, in the order of {@code stream}. The caller may change {@code from}
   * afterwards.
   */
  void upload(MemorySegment from, long to, CudaStream stream) {
    for (long done = 0; done < from.byteSize(); done += UPLOAD_BYTES) {
      Slot slot = uploads.next();
      MemorySegment part = slot.part(from.byteSize() - done);
      copy(from.asSlice(done, part.byteSize()), part);
      driver.copyToDevice(to + done, part, stream.handle());
      slot.copied.record(stream);
    }
  }

  /** Waits for the work of {@code stream}, then copies from the device. */
  void download(long from, MemorySegment to, CudaStream stream) {
    if (checks != null) {
      checks.fetch();
    }
    if (to.byteSize() > RESULT_BYTES) {
      downloadMuch(from, to, stream);
    } else {
      MemorySegment part = results.segment().asSlice(0, to.byteSize());
      driver.copyToHost(part, from, stream.handle());
      stream.synchronize();
      to.copyFrom(part);
    }
    if (checks != null) {
      checks.tell();
    }
  }

  /** While the CPU empties a buffer, the device fills the other. */
  private void downloadMuch(long from, MemorySegment to, CudaStream stream) {
    if (downloads == null) {
      downloads = new Ring(context, DOWNLOADS, DOWNLOAD_BYTES);
    }
    Deque<Runnable> emptied = new ArrayDeque<>();
    for (long done = 0; done < to.byteSize(); done += DOWNLOAD_BYTES) {
      if (emptied.size() == DOWNLOADS) {
        emptied.remove().run();
      }
      Slot slot = downloads.next();
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
              long bytes = Math.min(THREAD_BYTES, from.byteSize() - at);
              to.asSlice(at, bytes).copyFrom(from.asSlice(at, bytes));
            });
  }

  /** Buffers that are used in turn. */
  private static final class Ring {
    private final List<Slot> slots = new ArrayList<>();
    private int next;

    Ring(CudaContext context, int count, long bytes) {
      for (int i = 0; i < count; i++) {
        slots.add(new Slot(new PinnedBuffer(context, bytes, "transfers"), new CudaEvent(context)));
      }
    }

    /** The next buffer, once the device is done with it. */
    Slot next() {
      Slot slot = slots.get(next);
      next = (next + 1) % slots.size();
      slot.copied.synchronize();
      return slot;
    }
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
