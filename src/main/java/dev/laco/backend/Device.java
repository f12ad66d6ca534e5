package dev.laco.backend;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.model.DType;
import java.util.EnumMap;
import java.util.Map;

/**
 * What a device is, how exactly it calculates, and how fast: what a plan of memory or an estimate
 * of time asks. None of these methods computes anything on tensors.
 */
public interface Device {
  /**
   * How much longer operations in f64 take than products of f32, where f64 has half of the rate.
   */
  double F64_SLOWER = 3;

  /** What the device is, and how much of its memory is free at the time of the call. */
  DeviceInfo info();

  /** How exactly the device calculates, as it was asked for when it was opened. */
  Compute compute();

  /**
   * The type in which the device multiplies activations by weights of type {@code weights}: either
   * {@code weights} itself, to which activations are then rounded, or f32, to which weights are
   * then widened. Sums are f32 either way.
   */
  DType productType(DType weights);

  /**
   * The type to which attention rounds keys and values before it multiplies by them: f32, where it
   * does not round them, or that of its products. Keys and values of this type give the same bits
   * as ones of f32, and take half of their memory where the type has 16 bits.
   *
   * @param products {@link AttentionSpec#products}
   * @param headDim elements of a head
   */
  default DType keyValueType(DType products, int headDim) {
    return DType.F32;
  }

  /**
   * {@link #productType} in words, such as {@code f32 products}, and the reason where the device
   * chose between two types.
   */
  default String describeProducts(DType weights) {
    return productType(weights).shortName() + " products";
  }

  /**
   * About how many operations matrix products in a type do in a second, where a multiplication and
   * an addition are two operations; 0 where the device does not multiply in that type. The rate is
   * meant for estimates: for a GPU it is calculated from what the driver says about the card, on a
   * CPU it is measured when it is first asked for.
   */
  double operationsPerSecond(DType productType);

  /**
   * About how many operations in f64 a second factorisations and triangular systems do, for
   * estimates.
   */
  default double f64OperationsPerSecond() {
    return operationsPerSecond(DType.F32) / F64_SLOWER;
  }

  /** {@link #operationsPerSecond} of every type in which the device multiplies. */
  default Map<DType, Double> productRates() {
    Map<DType, Double> rates = new EnumMap<>(DType.class);
    for (DType type : DType.values()) {
      double rate = operationsPerSecond(type);
      if (rate > 0) {
        rates.put(type, rate);
      }
    }
    return rates;
  }

  /**
   * The most bytes of {@linkplain DeviceInfo.Memory the device's own memory} that ops allocate for
   * themselves, in addition to tensors and to what the device has allocated by now; 0 for a device
   * without memory of its own.
   *
   * @param buffers bytes of the buffers of a forward pass ({@code Workspace})
   */
  default long scratchBytes(long buffers) {
    return 0;
  }

  /**
   * How many tokens a batch should have whose rows a model treats one by one, so that the size of
   * the batch changes no result beyond rounding: {@code least}, or more where large batches cost
   * less time and the device has the memory. Depends on the device and its settings, and not on how
   * much memory is free.
   *
   * @param least tokens that are enough to keep a processor busy
   * @param bytesPerToken bytes of buffers for each token
   */
  default int batchTokens(int least, long bytesPerToken) {
    return least;
  }

  /** How many threads of this process may work for the device, for instance to solve a system. */
  default int hostThreads() {
    return Runtime.getRuntime().availableProcessors();
  }
}
