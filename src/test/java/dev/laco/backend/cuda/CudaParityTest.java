package dev.laco.backend.cuda;

import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.parity.FixtureParityTest;

/** Every fixture on the emulated device. */
class CudaParityTest extends FixtureParityTest {
  @Override
  protected Backend open() {
    EmulatedDevice.reset();
    return CudaBackend.open(Compute.F32, 0, CudaBinding.FFM);
  }
}
