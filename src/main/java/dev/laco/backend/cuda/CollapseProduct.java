package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.KernelCode;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;

/**
 * Multiplies by a matrix that the kernel mixes while it multiplies: see {@code
 * cuda/collapse_product.cu}.
 */
final class CollapseProduct {
  // Rows and columns of the product that a block computes, its threads, and its shared memory.
  static final int ROWS = 128;
  static final int COLUMNS = 32;
  static final int BLOCK = 256;
  static final int SHARED_BYTES = 106_496;

  private final Launcher launcher;
  private final ArgumentRing arguments;
  private final CudaProducts products;

  CollapseProduct(Launcher launcher, ArgumentRing arguments, CudaProducts products) {
    this.launcher = launcher;
    this.arguments = arguments;
    this.products = products;
  }

  /**
   * {@code out = x weight^T}.
   *
   * @param type of the result
   * @param out device address of the result
   */
  void apply(CudaTensor x, MixedMatrix weight, DType type, long out) {
    int count = weight.sources().size();
    long coefficients = 8L * count;
    ArgumentRing.Table table = arguments.table(2 * coefficients);
    MemorySegment memory = table.memory();
    for (int j = 0; j < count; j++) {
      memory.set(JAVA_LONG, 8L * j, weight.sources().get(j).input());
    }
    MemorySegment.copy(weight.mix().coefficients(), 0, memory, JAVA_DOUBLE, coefficients, count);
    table.send();
    long input = products.narrowed(x, weight.dtype());
    launcher
        .of(Kernel.COLLAPSE_PRODUCT, weight.dtype())
        .pointer(table.address())
        .pointer(table.address() + coefficients)
        .pointer(input)
        .pointer(out)
        .int64(x.rows())
        .int64(weight.rows())
        .int64(weight.columns())
        .int32(count)
        .int32(KernelCode.of(type))
        .run(
            Math.ceilDiv(weight.rows(), COLUMNS),
            Math.ceilDiv(x.rows(), ROWS),
            1,
            BLOCK,
            SHARED_BYTES);
  }
}
