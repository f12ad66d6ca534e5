package dev.laco.parity;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cpu.CpuTier;
import dev.laco.backend.cpu.CpuTiers;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.condition.EnabledIf;

/** The C++ kernels and oneDNN, on every tier that the processor has. */
final class CpuParityTest {
  private static Backend open(CpuTier tier) {
    return CpuBackend.open(Compute.F32, 2, tier);
  }

  @Nested
  final class Portable extends FixtureParityTest {
    @Override
    protected Backend open() {
      return CpuParityTest.open(CpuTier.PORTABLE);
    }
  }

  @Nested
  @EnabledIf(value = CpuTiers.HAS_AVX2, disabledReason = "this processor has no AVX2")
  final class Avx2 extends FixtureParityTest {
    @Override
    protected Backend open() {
      return CpuParityTest.open(CpuTier.AVX2);
    }
  }

  @Nested
  @EnabledIf(value = CpuTiers.HAS_AVX512, disabledReason = "this processor has no AVX-512")
  final class Avx512 extends FixtureParityTest {
    @Override
    protected Backend open() {
      return CpuParityTest.open(CpuTier.AVX512);
    }
  }
}
