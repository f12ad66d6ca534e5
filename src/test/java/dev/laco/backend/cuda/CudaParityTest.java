package dev.laco.backend.cuda;

import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.parity.FixtureParityTest;
import org.junit.jupiter.api.Nested;

/** Every fixture on the emulated device, through both bindings. */
class CudaParityTest {
  private static Backend open(CudaBinding binding) {
    EmulatedDevice.reset();
    return CudaBackend.open(Compute.F32, 0, binding);
  }

  @Nested
  class ThroughFfm extends FixtureParityTest {
    @Override
    protected Backend open() {
      return CudaParityTest.open(CudaBinding.FFM);
    }
  }

  @Nested
  class ThroughJcuda extends FixtureParityTest {
    @Override
    protected Backend open() {
      return CudaParityTest.open(CudaBinding.JCUDA);
    }
  }
}
