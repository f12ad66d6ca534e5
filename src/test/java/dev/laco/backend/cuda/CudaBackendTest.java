package dev.laco.backend.cuda;

import dev.laco.backend.Backend;
import dev.laco.backend.BackendContractTest;
import dev.laco.backend.Compute;
import dev.laco.backend.Tolerance;
import dev.laco.model.DType;
import org.junit.jupiter.api.Nested;

/** Both bindings, with both ways to calculate, on the emulated device. */
class CudaBackendTest {
  @Nested
  class FfmF32 extends Contract {
    FfmF32() {
      super(CudaBinding.FFM, Compute.F32);
    }
  }

  @Nested
  class FfmAuto extends Contract {
    FfmAuto() {
      super(CudaBinding.FFM, Compute.AUTO);
    }
  }

  @Nested
  class JcudaF32 extends Contract {
    JcudaF32() {
      super(CudaBinding.JCUDA, Compute.F32);
    }
  }

  @Nested
  class JcudaAuto extends Contract {
    JcudaAuto() {
      super(CudaBinding.JCUDA, Compute.AUTO);
    }
  }

  private abstract static class Contract extends BackendContractTest {
    private final CudaBinding binding;
    private final Compute compute;

    Contract(CudaBinding binding, Compute compute) {
      this.binding = binding;
      this.compute = compute;
    }

    @Override
    protected Backend open() {
      // What the test before left; its backend was closed after its own checks.
      EmulatedDevice.assertNothingLeaks();
      EmulatedDevice.reset();
      return CudaBackend.open(compute, 0, binding);
    }

    @Override
    protected Tolerance product(DType dtype) {
      return rounds(dtype) ? Tolerance.BF16_PRODUCT : Tolerance.ACCUMULATED;
    }

    @Override
    protected Tolerance logProbability(DType dtype) {
      return rounds(dtype) ? Tolerance.BF16_LOG_PROBABILITY : Tolerance.LOG_PROBABILITY;
    }

    @Override
    protected Tolerance attention(DType products) {
      return products == DType.F32 ? Tolerance.ACCUMULATED : Tolerance.BF16_PRODUCT;
    }

    @Override
    protected Tolerance crossProduct() {
      return product(DType.BF16);
    }

    /** True where x is rounded to the weight's 16 bits; f16 has more of them than bf16. */
    private boolean rounds(DType dtype) {
      return compute == Compute.AUTO && dtype != DType.F32;
    }
  }
}
