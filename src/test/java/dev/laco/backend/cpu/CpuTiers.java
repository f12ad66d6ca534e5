package dev.laco.backend.cpu;

/** Conditions for tests of tiers that not every processor has. */
public final class CpuTiers {
  public static final String HAS_AVX2 = "dev.laco.backend.cpu.CpuTiers#hasAvx2";
  public static final String HAS_AVX512 = "dev.laco.backend.cpu.CpuTiers#hasAvx512";

  private CpuTiers() {}

  static boolean hasAvx2() {
    return CpuTier.AVX2.isSupported();
  }

  static boolean hasAvx512() {
    return CpuTier.AVX512.isSupported();
  }
}
