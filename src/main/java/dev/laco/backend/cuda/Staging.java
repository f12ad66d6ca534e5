package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/**
 * Copies between host and device through pinned buffers. While the device copies from one buffer,
 * the CPU fills the next, which reads the pages of a mapped checkpoint; kernels run at the same
 * time.
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

  /** Size of the buffer for results, most of which are small. */
  private static final long RESULT_BYTES = 1L << 20;

  private final CudaContext context;
  private final @Nullable WeightChecks checks;
  private final PinnedRing uploads;
  private final PinnedBuffer results;

  /** Made when it is first needed: most jobs get small results only. */
  private @Nullable PinnedRing downloads;

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
    this.results = new PinnedBuffer(context, RESULT_BYTES, "results");
    this.uploads = new PinnedRing(context, UPLOADS, UPLOAD_BYTES);
  }

  /** Buffers for tensors that come to the host. */
  static PinnedRing forDownloads(CudaContext context) {
    return new PinnedRing(context, DOWNLOADS, DOWNLOAD_BYTES);
  }

  /**
   * Copies to the device, in the order of {@code stream}. The caller may change {@code from}
   * afterwards.
   */
  void upload(MemorySegment from, long to, CudaStream stream) {
    uploads.upload(from, to, stream);
  }

  /** Waits for the work of {@code stream}, then copies from the device. */
  void download(long from, MemorySegment to, CudaStream stream) {
    if (checks != null) {
      checks.fetch();
    }
    if (to.byteSize() > RESULT_BYTES) {
      if (downloads == null) {
        downloads = forDownloads(context);
      }
      downloads.download(from, to, stream);
    } else {
      MemorySegment part = results.segment().asSlice(0, to.byteSize());
      context.driver().copyToHost(part, from, stream.handle());
      stream.synchronize();
      to.copyFrom(part);
    }
    if (checks != null) {
      checks.tell();
    }
  }
}
