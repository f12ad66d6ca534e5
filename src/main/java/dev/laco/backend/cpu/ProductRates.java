package dev.laco.backend.cpu;

import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * How many operations one thread does in a second in products with bf16 weights, by the type in
 * which it multiplies. A processor with instructions for bf16 need not be faster in bf16: with
 * tiles (AMX) bf16 was up to six times as fast as f32, on an Intel processor without them 1.4 times
 * as slow. So products in both types are timed, once a process for matrices of one size.
 *
 * @param f32 operations a second in f32, to which weights are widened
 * @param bf16 operations a second in bf16, to which activations are rounded; 0 where the processor
 *     does not multiply bf16
 */
record ProductRates(double f32, double bf16) {
  /** Tokens of the batch that is timed. */
  private static final long ROWS = 256;

  /**
   * The most elements of a weight that are multiplied, its first rows, so that a product takes some
   * milliseconds.
   */
  private static final long MOST_ELEMENTS = 1 << 20;

  private static final Map<Measurement, ProductRates> MEASURED = new HashMap<>();

  /** The key under which a measurement is kept. */
  private record Measurement(CpuTier tier, Sizes sizes) {}

  /**
   * The sizes of a model's feed-forward matrices, which are the largest of a layer: two matrices
   * are {@code [intermediate, hidden]}, one is {@code [hidden, intermediate]}.
   */
  record Sizes(int hidden, int intermediate) {
    /**
     * The smallest size that is timed: smaller products take microseconds, too little to compare.
     */
    private static final int SMALLEST = 256;

    /**
     * Sizes of a model of 1 to 3 billion parameters, for a backend that is opened without a model.
     */
    static final Sizes USUAL = new Sizes(2048, 8192);

    Sizes {
      hidden = Math.max(SMALLEST, hidden);
      intermediate = Math.max(SMALLEST, intermediate);
    }
  }

  /** The rates for matrices of a size, measured at the first call in the process. */
  static synchronized ProductRates of(CpuTier tier, Sizes sizes) {
    return MEASURED.computeIfAbsent(
        new Measurement(tier, sizes), what -> measure(what.tier, what.sizes));
  }

  /** Whether oneDNN can multiply bf16 on this processor, fast or slowly. */
  static boolean hasBf16() {
    CpuTier forced = CpuTier.forced();
    return (forced == null || forced == CpuTier.AVX512) && CpuFeature.AVX512_BF16.isPresent();
  }

  /** The type to multiply in: bf16, unless f32 is clearly faster. */
  DType faster() {
    return Timing.isClearlyFaster(f32, bf16) ? DType.F32 : DType.BF16;
  }

  private static ProductRates measure(CpuTier tier, Sizes sizes) {
    CpuLibraries libraries = CpuLibraries.get();
    CpuKernels kernels = new CpuKernels(libraries.kernels(), tier);
    try (MemoryArena memory = new MemoryArena();
        CpuProducts f32 = new CpuProducts(libraries.oneDnn(), kernels, DType.F32, tier, 1);
        CpuProducts bf16 = new CpuProducts(libraries.oneDnn(), kernels, DType.BF16, tier, 1)) {
      List<CpuProducts> ways = hasBf16() ? List.of(f32, bf16) : List.of(f32);
      double[] up = Product.of(sizes.hidden, sizes.intermediate, memory).rates(kernels, ways);
      double[] down = Product.of(sizes.intermediate, sizes.hidden, memory).rates(kernels, ways);
      return new ProductRates(mean(up[0], down[0]), hasBf16() ? mean(up[1], down[1]) : 0);
    }
  }

  /** The rate of two kinds of work together that have equally many operations each. */
  private static double mean(double a, double b) {
    return 2 / (1 / a + 1 / b);
  }

  /** The matrices of a product that is timed. */
  private record Product(MemoryTensor x, MemoryTensor weight, MemoryTensor out) {
    static Product of(long in, long width, MemoryArena memory) {
      long rows = Math.min(width, Math.max(1, MOST_ELEMENTS / in));
      MemoryTensor x = memory.allocate(DType.F32, ROWS, in);
      MemoryTensor weight = memory.allocate(DType.BF16, rows, in);
      x.data().fill(Timing.FILL);
      weight.data().fill(Timing.FILL);
      return new Product(x, weight, memory.allocate(DType.F32, ROWS, rows));
    }

    /** Operations a second of each way to multiply. */
    double[] rates(CpuKernels kernels, List<CpuProducts> ways) {
      List<Runnable> products =
          ways.stream().<Runnable>map(way -> () -> way.apply(x, weight, out.data())).toList();
      return Arrays.stream(Timing.rates(kernels, products))
          .map(rate -> rate * 2 * x.rows() * weight.elements())
          .toArray();
    }
  }
}
