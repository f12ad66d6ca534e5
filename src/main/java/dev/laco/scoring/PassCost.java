package dev.laco.scoring;

import dev.laco.DeviceInfo;
import dev.laco.backend.Device;
import dev.laco.model.DType;
import java.math.BigDecimal;
import java.math.MathContext;

/**
 * The fixed cost of a pass: the time to read a layer's weights, in units of the time to run one
 * candidate through the layer. The cost follows from shapes and from how many operations the device
 * does in the time that it reads one byte of weights. On a GPU that number comes from the device's
 * properties, never from a measurement, and is rounded to one digit, so that runs are reproducible.
 */
public final class PassCost {
  /** Bytes a second from the host to a device: PCIe 4.0 with 16 lanes. */
  private static final double HOST_TO_DEVICE = 25e9;

  /**
   * Operations per byte of a processor that does 1 TFLOP/s in bf16 and reads 2 GB/s from a disk.
   */
  private static final double DISK_TO_HOST = 500;

  /** Two operations for each weight and token. */
  private static final double OPERATIONS = 2;

  private static final MathContext ONE_DIGIT = new MathContext(1);

  private PassCost() {}

  /**
   * The fixed cost of a pass over a model; 0 if it is not known.
   *
   * @param weights dtype of the model's matrices
   * @param tokens number of calibration tokens
   * @param streaming whether each pass reads the weights anew, from a disk or from the host
   */
  public static double of(Device backend, DType weights, long tokens, boolean streaming) {
    DeviceInfo.Memory memory = backend.info().memory();
    if (memory == null) {
      // A processor that reads its own memory is bound by what it calculates.
      return streaming ? DISK_TO_HOST / tokens : 0;
    }
    if (memory.bytesPerSecond() == 0) {
      return 0;
    }
    double bytesPerSecond =
        streaming ? Math.min(HOST_TO_DEVICE, memory.bytesPerSecond()) : memory.bytesPerSecond();
    double seconds = weights.byteSize() / bytesPerSecond;
    double rate = backend.operationsPerSecond(backend.productType(weights));
    return rounded(seconds * rate / OPERATIONS) / tokens;
  }

  private static double rounded(double value) {
    return BigDecimal.valueOf(value).round(ONE_DIGIT).doubleValue();
  }
}
