package dev.laco.backend.cuda;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.ForwardContract;
import dev.laco.backend.MemoryContract;
import dev.laco.backend.ScoringContract;
import dev.laco.backend.SolvingContract;
import dev.laco.backend.TestedBackend;
import dev.laco.backend.Tolerance;
import dev.laco.backend.TrainingContract;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The CUDA backend keeps the contracts of all ops with both bindings and both values of {@link
 * Compute}: on the emulated device, and on a real one when {@link GpuTestRun} runs the tests.
 */
@ParameterizedClass
@MethodSource("backends")
class CudaBackendTest {
  private final Tested tested;

  CudaBackendTest(Tested tested) {
    this.tested = tested;
  }

  static Stream<Tested> backends() {
    return Arrays.stream(CudaBinding.values())
        .flatMap(
            binding ->
                Arrays.stream(Compute.values()).map(compute -> new Tested(binding, compute)));
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

  record Tested(CudaBinding binding, Compute compute) implements TestedBackend {
    @Override
    public Backend open() {
      // Looks at what the previous test left, whose backend was closed after all of its own checks.
      EmulatedDevice.assertNothingLeaks();
      EmulatedDevice.reset();
      return CudaBackend.open(compute, 0, binding);
    }

    @Override
    public Tolerance product(DType weights) {
      return rounds(weights) ? Tolerance.BF16_PRODUCT : Tolerance.ACCUMULATED;
    }

    @Override
    public Tolerance logProbability(DType head) {
      return rounds(head) ? Tolerance.BF16_LOG_PROBABILITY : Tolerance.LOG_PROBABILITY;
    }

    @Override
    public Tolerance attention(DType products) {
      return products == DType.F32 ? Tolerance.ACCUMULATED : Tolerance.BF16_ATTENTION;
    }

    @Override
    public Tolerance attentionGradient(AttentionSpec spec) {
      // Wider heads are differentiated in f32, and attention in front of that is computed in f32.
      return spec.products() == DType.F32 || (spec.products() == DType.BF16 && spec.headDim() > 128)
          ? Tolerance.ACCUMULATED
          : Tolerance.BF16_ATTENTION_GRADIENT;
    }

    @Override
    public Tolerance crossProduct() {
      return product(DType.BF16);
    }

    /** Whether x is rounded to the weight's 16 bits; f16 has more significant ones than bf16. */
    private boolean rounds(DType dtype) {
      return compute == Compute.AUTO && dtype != DType.F32;
    }
  }
}
