package dev.laco.backend.cuda;

import java.util.Locale;

/**
 * What a kernel takes of a multiprocessor.
 *
 * @param registers of a thread; 0 where the device does not know
 * @param localBytes of a thread: arrays that are no registers, and spilled registers
 * @param sharedBytes of a block, static and dynamic
 * @param blocks that are on a multiprocessor at once
 * @param occupancy their threads as a share of the most that a multiprocessor can have
 */
public record KernelResources(
    int registers, int localBytes, int sharedBytes, int blocks, double occupancy) {
  /** {@code 40 registers, 8 blocks, 100 %}. */
  @Override
  public String toString() {
    String text =
        String.format(
            Locale.ROOT,
            "%s registers, %d blocks, %.0f %%",
            registers == 0 ? "?" : String.valueOf(registers),
            blocks,
            100 * occupancy);
    return localBytes == 0
        ? text
        : text + String.format(Locale.ROOT, ", %d bytes of local memory", localBytes);
  }
}
