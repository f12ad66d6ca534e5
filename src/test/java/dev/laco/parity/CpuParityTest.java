package dev.laco.parity;

import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cpu.CpuTier;
import org.junit.jupiter.api.Nested;

/** The C++ kernels and oneDNN, on every tier: a machine with the highest tests them all. */
final class CpuParityTest {
  private static Backend open(CpuTier tier) {
    assertTrue(tier.isSupported(), "this test needs a processor with " + tier.displayName());
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
  final class Avx2 extends FixtureParityTest {
    @Override
    protected Backend open() {
      return CpuParityTest.open(CpuTier.AVX2);
    }
  }

  @Nested
  final class Avx512 extends FixtureParityTest {
    @Override
    protected Backend open() {
      return CpuParityTest.open(CpuTier.AVX512);
    }
  }
}
