package dev.laco.backend.cuda;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.backend.Backend;
import dev.laco.parity.FixtureParityTest;
import java.util.stream.Stream;
import org.junit.jupiter.api.Nested;

/**
 * Every fixture on the emulated device. The kernels are the same through the second binding, whose
 * every call {@link CudaBackendTest} makes: one fixture of each dtype goes through it, as in the
 * archive for GPU nodes.
 */
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
    static Stream<String> fixtures() {
      return Stream.of("llama_mha_bias_f16", "llama_tied_rope3", "qwen3_qknorm");
    }

    static Stream<String> official() {
      return fixtures();
    }

    static Stream<String> paper() {
      return fixtures();
    }

    @Override
    protected Backend open() {
      return CudaParityTest.open(CudaBinding.JCUDA);
    }
  }
}
