package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.laco.Compute;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.ForwardContract;
import dev.laco.backend.MemoryContract;
import dev.laco.backend.ScoringContract;
import dev.laco.backend.SolvingContract;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TestedBackend;
import dev.laco.backend.Tolerance;
import dev.laco.backend.TrainingContract;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The CPU backend keeps the contracts of all ops on every tier of this processor, with both values
 * of {@link Compute}.
 */
@ParameterizedClass
@MethodSource("backends")
class CpuBackendTest {
  private final Tested tested;

  CpuBackendTest(Tested tested) {
    if (!tested.tier.isSupported()) {
      abort("this processor has no " + tested.tier.displayName());
    }
    this.tested = tested;
  }

  static Stream<Tested> backends() {
    return Arrays.stream(CpuTier.values())
        .flatMap(tier -> Arrays.stream(Compute.values()).map(compute -> new Tested(tier, compute)));
  }

  /** Code may be generated for the number of rows, for any number, or the rows multiplied apart. */
  @Test
  void multipliesManyRowsByALargeWeightAsFewRows() {
    int rows = 1100;
    int width = 2048;
    Random random = new Random(5);
    float[] values = new float[rows * width];
    float[] elements = new float[width * width];
    for (float[] array : List.of(values, elements)) {
      for (int i = 0; i < array.length; i++) {
        array[i] = random.nextInt(-8, 9) / 8f;
      }
    }
    try (Backend backend = tested.open();
        TensorArena arena = backend.arena()) {
      Tensor x = arena.allocate(DType.F32, rows, width);
      backend.upload(values, x);
      Tensor wide = arena.allocate(DType.F32, width, width);
      backend.upload(elements, wide);
      Tensor weight = arena.allocate(DType.BF16, width, width);
      backend.copy(wide, weight);
      Tensor all = arena.allocate(DType.F32, rows, width);
      backend.linear(x, weight, null, all);
      Tensor parts = arena.allocate(DType.F32, rows, width);
      for (int from = 0; from < rows; from += 100) {
        backend.linear(x.slice(from, from + 100), weight, null, parts.slice(from, from + 100));
      }
      // Sums of so few small multiples of 1/64 are exact in f32, in any order.
      assertArrayEquals(floats(backend, parts), floats(backend, all));
    }
  }

  private static float[] floats(Backend backend, Tensor tensor) {
    float[] values = new float[Math.toIntExact(tensor.elements())];
    backend.download(tensor, values);
    return values;
  }

  @Nested
  class Memory extends MemoryContract {
    Memory() {
      super(tested);
    }
  }

  @Nested
  class Forward extends ForwardContract {
    Forward() {
      super(tested);
    }
  }

  @Nested
  class Scoring extends ScoringContract {
    Scoring() {
      super(tested);
    }
  }

  @Nested
  class Solving extends SolvingContract {
    Solving() {
      super(tested);
    }
  }

  @Nested
  class Training extends TrainingContract {
    Training() {
      super(tested);
    }
  }

  record Tested(CpuTier tier, Compute compute) implements TestedBackend {
    @Override
    public Backend open() {
      int threads = compute == Compute.F32 ? 1 : 2;
      return CpuBackend.open(compute, threads, tier);
    }

    @Override
    public Tolerance product(DType weights) {
      return roundsToBf16(weights) ? Tolerance.BF16_PRODUCT : Tolerance.ACCUMULATED;
    }

    @Override
    public Tolerance logProbability(DType head) {
      return roundsToBf16(head) ? Tolerance.BF16_LOG_PROBABILITY : Tolerance.LOG_PROBABILITY;
    }

    @Override
    public Tolerance attention(DType products) {
      return multipliesTiles(products) ? Tolerance.BF16_ATTENTION : Tolerance.ACCUMULATED;
    }

    @Override
    public Tolerance attentionGradient(AttentionSpec spec) {
      return multipliesTiles(spec.products())
          ? Tolerance.BF16_ATTENTION_GRADIENT
          : Tolerance.ACCUMULATED;
    }

    private boolean multipliesTiles(DType products) {
      return tier == CpuTier.AVX512 && CpuFeature.hasTiles() && products == DType.BF16;
    }

    @Override
    public Tolerance crossProduct() {
      return product(DType.BF16);
    }

    private boolean roundsToBf16(DType dtype) {
      return compute == Compute.AUTO && ProductRates.hasBf16() && dtype == DType.BF16;
    }
  }
}
