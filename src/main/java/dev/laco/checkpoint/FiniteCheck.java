package dev.laco.checkpoint;

import dev.laco.BadInputException;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import dev.laco.model.NonFinite;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.stream.LongStream;

/** Checks the weights of a file for NaN and infinity. */
final class FiniteCheck {
  private static final long PART = 1L << 20;

  private FiniteCheck() {}

  /** A part of a tensor that one thread reads at once. */
  private record Part(WeightFile file, TensorInfo info, long offset) {
    /** Index in the tensor of the first element that is NaN or infinite, or -1. */
    long firstNonFinite() {
      DType dtype = file.requireWeight(info);
      long size = Math.min(PART, info.weightBytes() - offset);
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment data;
        if (info.decoder() == null) {
          data = arena.allocate(size);
          file.read(info, offset, data.asByteBuffer());
        } else {
          data = file.tensor(info.name()).data().asSlice(offset, size);
        }
        long index = NonFinite.first(dtype, data);
        return index < 0 ? -1 : offset / dtype.byteSize() + index;
      }
    }
  }

  /**
   * Checks a tensor, on all cores. The tensor is read through small buffers, so that it does not
   * stay in the process's memory as mapped pages do. A tensor that is computed stays until it is
   * given up.
   *
   * @throws BadInputException naming file, tensor and index of the first element that is not finite
   */
  static void require(WeightFile file, String name) {
    TensorInfo info = file.info(name);
    LongStream.range(0, Math.ceilDiv(info.weightBytes(), PART))
        .parallel()
        .mapToObj(part -> new Part(file, info, part * PART))
        .filter(part -> part.firstNonFinite() >= 0)
        .findFirst()
        .ifPresent(FiniteCheck::fail);
  }

  private static void fail(Part part) {
    throw new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: tensor '%s' holds NaN or infinity at element %d of %d; the checkpoint is damaged",
            part.file.path(),
            part.info.name(),
            part.firstNonFinite(),
            part.info.elements()));
  }
}
