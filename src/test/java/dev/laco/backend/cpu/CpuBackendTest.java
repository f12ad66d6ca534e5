package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assumptions.abort;

import dev.laco.Compute;
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
    public Tolerance crossProduct() {
      return product(DType.BF16);
    }

    private boolean roundsToBf16(DType dtype) {
      return compute == Compute.AUTO && ProductRates.hasBf16() && dtype == DType.BF16;
    }
  }
}
