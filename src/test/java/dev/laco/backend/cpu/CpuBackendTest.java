package dev.laco.backend.cpu;

import dev.laco.backend.Backend;
import dev.laco.backend.BackendContractTest;
import dev.laco.backend.Compute;
import dev.laco.backend.Tolerance;
import dev.laco.model.DType;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.condition.EnabledIf;

/** Every tier, with both ways to calculate. */
class CpuBackendTest {
  @Nested
  class PortableF32 extends Contract {
    PortableF32() {
      super(CpuTier.PORTABLE, Compute.F32);
    }
  }

  @Nested
  class PortableAuto extends Contract {
    PortableAuto() {
      super(CpuTier.PORTABLE, Compute.AUTO);
    }
  }

  @Nested
  @EnabledIf(value = CpuTiers.HAS_AVX2, disabledReason = "this processor has no AVX2")
  class Avx2F32 extends Contract {
    Avx2F32() {
      super(CpuTier.AVX2, Compute.F32);
    }
  }

  @Nested
  @EnabledIf(value = CpuTiers.HAS_AVX2, disabledReason = "this processor has no AVX2")
  class Avx2Auto extends Contract {
    Avx2Auto() {
      super(CpuTier.AVX2, Compute.AUTO);
    }
  }

  @Nested
  @EnabledIf(value = CpuTiers.HAS_AVX512, disabledReason = "this processor has no AVX-512")
  class Avx512F32 extends Contract {
    Avx512F32() {
      super(CpuTier.AVX512, Compute.F32);
    }
  }

  @Nested
  @EnabledIf(value = CpuTiers.HAS_AVX512, disabledReason = "this processor has no AVX-512")
  class Avx512Auto extends Contract {
    Avx512Auto() {
      super(CpuTier.AVX512, Compute.AUTO);
    }
  }

  private abstract static class Contract extends BackendContractTest {
    private final CpuTier tier;
    private final Compute compute;

    Contract(CpuTier tier, Compute compute) {
      this.tier = tier;
      this.compute = compute;
    }

    @Override
    protected Backend open() {
      int threads = compute == Compute.F32 ? 1 : 2;
      return CpuBackend.open(compute, threads, tier);
    }

    @Override
    protected Tolerance product(DType dtype) {
      return roundsToBf16(dtype) ? Tolerance.BF16_PRODUCT : Tolerance.ACCUMULATED;
    }

    @Override
    protected Tolerance logProbability(DType dtype) {
      return roundsToBf16(dtype) ? Tolerance.BF16_LOG_PROBABILITY : Tolerance.LOG_PROBABILITY;
    }

    @Override
    protected Tolerance crossProduct() {
      return product(DType.BF16);
    }

    private boolean roundsToBf16(DType dtype) {
      return compute == Compute.AUTO && ProductRates.hasBf16() && dtype == DType.BF16;
    }
  }
}
