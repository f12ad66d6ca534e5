package dev.laco.backend.cpu;

import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Operations that one thread does in a second in products with bf16 weights, by the type in which
 * it multiplies. That a processor has instructions for bf16 does not say which is quicker: with
 * tiles (AMX) bf16 is six times as quick as f32, on an Intel processor without them 1.4 times as
 * slow. So both are measured, once per process for matrices of a size.
 *
 * @param f32 with the weights widened
 * @param bf16 with the activations rounded; 0 where the processor does not multiply bf16
 */
record ProductRates(double f32, double bf16) {
  /** Tokens of a batch. */
  private static final long ROWS = 256;

  /** Of a weight at most, its first rows: a product then takes some milliseconds. */
  private static final long MOST_ELEMENTS = 1 << 20;

  private static final Map<Measurement, ProductRates> MEASURED = new HashMap<>();

  /** What a measurement is kept for. */
  private record Measurement(CpuTier tier, Sizes sizes) {}

  /** The feed-forward matrices of a model, which are most of a layer: one is the other's shape. */
  record Sizes(int hidden, int intermediate) {
    /** Smaller ones take microseconds, which cannot be told apart. */
    private static final int SMALLEST = 256;

    /** A model's of 1 to 3 billion parameters, where there is none yet. */
    static final Sizes USUAL = new Sizes(2048, 8192);

    Sizes {
      hidden = Math.max(SMALLEST, hidden);
      intermediate = Math.max(SMALLEST, intermediate);
    }
  }

  /** The rates of this process, measured at the first call. */
  static synchronized ProductRates of(CpuTier tier, Sizes sizes) {
    return MEASURED.computeIfAbsent(
        new Measurement(tier, sizes), what -> measure(what.tier, what.sizes));
  }

  /** Whether oneDNN may multiply bf16 on this processor, at whatever rate. */
  static boolean hasBf16() {
    CpuTier forced = CpuTier.forced();
    return (forced == null || forced == CpuTier.AVX512) && CpuFeature.AVX512_BF16.isPresent();
  }

  /** bf16, unless f32 is clearly faster. */
  DType faster() {
    return Timing.isClearlyFaster(f32, bf16) ? DType.F32 : DType.BF16;
  }

  private static ProductRates measure(CpuTier tier, Sizes sizes) {
    CpuLibraries libraries = CpuLibraries.get();
    CpuKernels kernels = new CpuKernels(libraries.kernels(), tier);
    kernels.setThreads(1);
    try (MemoryArena memory = new MemoryArena();
        CpuProducts f32 = new CpuProducts(libraries.oneDnn(), kernels, DType.F32, tier, 1);
        CpuProducts bf16 = new CpuProducts(libraries.oneDnn(), kernels, DType.BF16, tier, 1)) {
      List<CpuProducts> ways = hasBf16() ? List.of(f32, bf16) : List.of(f32);
      double[] up = Product.of(sizes.hidden, sizes.intermediate, memory).rates(ways);
      double[] down = Product.of(sizes.intermediate, sizes.hidden, memory).rates(ways);
      return new ProductRates(mean(up[0], down[0]), hasBf16() ? mean(up[1], down[1]) : 0);
    }
  }

  /** Of equally many operations. */
  private static double mean(double a, double b) {
    return 2 / (1 / a + 1 / b);
  }

  /** A product with a weight of this shape, or with the first rows of a larger one. */
  private record Product(MemoryTensor x, MemoryTensor weight, MemoryTensor out) {
    static Product of(long in, long width, MemoryArena memory) {
      long rows = Math.min(width, Math.max(1, MOST_ELEMENTS / in));
      MemoryTensor x = memory.allocate(DType.F32, ROWS, in);
      MemoryTensor weight = memory.allocate(DType.BF16, rows, in);
      x.data().fill(Timing.FILL);
      weight.data().fill(Timing.FILL);
      return new Product(x, weight, memory.allocate(DType.F32, ROWS, rows));
    }

    /** Operations a second of each way. */
    double[] rates(List<CpuProducts> ways) {
      List<Runnable> products =
          ways.stream().<Runnable>map(way -> () -> way.apply(x, weight, out.data())).toList();
      return Arrays.stream(Timing.rates(products))
          .map(rate -> rate * 2 * x.rows() * weight.elements())
          .toArray();
    }
  }
}
