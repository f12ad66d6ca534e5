package dev.laco.scoring;

import dev.laco.backend.Backend;

/**
 * What a pass costs beside its candidates: the time to bring a layer's weights to where they are
 * multiplied by, in what it takes to run one candidate through the layer. It follows from shapes
 * and from how many operations a device does while it moves a byte, rounded, so that runs repeat.
 */
public final class PassCost {
  /** An H100: 620 TFLOP/s in bf16 and 3.05 TB/s. */
  private static final double DEVICE_MEMORY = 200;

  /** The same, and 25 GB/s from the host. */
  private static final double HOST_TO_DEVICE = 25_000;

  /** A processor with 1 TFLOP/s in bf16, and a disk of 2 GB/s. */
  private static final double DISK_TO_HOST = 500;

  private PassCost() {}

  /**
   * The cost of a pass over a model.
   *
   * @param tokens of the calibration set
   * @param streaming whether weights do not stay where they are multiplied by
   */
  public static double of(Backend backend, long tokens, boolean streaming) {
    boolean device = backend.device().startsWith("cuda");
    double operationsPerByte;
    if (device) {
      operationsPerByte = streaming ? HOST_TO_DEVICE : DEVICE_MEMORY;
    } else {
      // A processor that reads its own memory is bound by what it calculates.
      operationsPerByte = streaming ? DISK_TO_HOST : 0;
    }
    // A 16-bit weight is two bytes, and two operations for each token.
    return operationsPerByte / tokens;
  }
}
