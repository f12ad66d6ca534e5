package dev.laco.backend.cpu;

import dev.laco.UsageException;
import java.util.Arrays;

/** Instruction sets that the kernels are compiled for. */
public enum CpuTier {
  /** What every x86-64 processor has. */
  PORTABLE(0, "portable", 0),
  /** AVX2, FMA and F16C: Intel since 2013, AMD since 2015. */
  AVX2(1, "AVX2", CpuFeature.AVX2.mask()),
  /** AVX-512 F, BW, DQ and VL: Intel servers since 2017, AMD since 2022. */
  AVX512(2, "AVX-512", CpuFeature.AVX512.mask());

  /** The system property that forces a lower tier. */
  public static final String PROPERTY = "laco.cpu.tier";

  private final int number;
  private final String displayName;
  private final int needs;

  CpuTier(int number, String displayName, int needs) {
    this.number = number;
    this.displayName = displayName;
    this.needs = needs;
  }

  /** The suffix of its kernels. */
  public int number() {
    return number;
  }

  /** The name as people write it. */
  public String displayName() {
    return displayName;
  }

  /** True if this processor and its operating system have what the tier needs. */
  public boolean isSupported() {
    return (CpuFeature.bits() & needs) == needs;
  }

  /**
   * The best tier of this processor, or the one that {@value #PROPERTY} names.
   *
   * @throws UsageException if the property is not a number of a supported tier
   */
  public static CpuTier selected() {
    String forced = System.getProperty(PROPERTY);
    for (CpuTier tier : Arrays.asList(values()).reversed()) {
      if (tier.isSupported() && (forced == null || forced.equals(String.valueOf(tier.number)))) {
        return tier;
      }
    }
    throw new UsageException(
        "%s=%s: this processor's tiers are %s"
            .formatted(
                PROPERTY,
                forced,
                Arrays.stream(values())
                    .filter(CpuTier::isSupported)
                    .map(tier -> tier.number + " (" + tier.displayName + ")")
                    .toList()));
  }
}
