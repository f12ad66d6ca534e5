package dev.laco.backend.cpu;

import dev.laco.UsageException;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Instruction sets that the kernels are compiled for. */
public enum CpuTier {
  /** What every x86-64 processor has. */
  PORTABLE(0, "portable", 0),
  /** AVX2, FMA and F16C: Intel since 2013, AMD since 2015. */
  AVX2(1, "AVX2", CpuFeature.AVX2.mask()),
  /** AVX-512 F, BW, DQ and VL: Intel servers since 2017, AMD since 2022. */
  AVX512(2, "AVX-512", CpuFeature.AVX512.mask());

  /** The system property that forces a tier, on oneDNN as well. */
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

  /** The tiers of this processor, the lowest first. */
  static List<CpuTier> supported() {
    return Arrays.stream(values()).filter(CpuTier::isSupported).toList();
  }

  /**
   * The tier that {@value #PROPERTY} names, or null if it is not set.
   *
   * @throws UsageException if the property is not a number of a supported tier
   */
  static @Nullable CpuTier forced() {
    String number = System.getProperty(PROPERTY);
    if (number == null) {
      return null;
    }
    for (CpuTier tier : supported()) {
      if (number.equals(String.valueOf(tier.number))) {
        return tier;
      }
    }
    throw new UsageException(
        String.format(
            Locale.ROOT,
            "%s=%s: this processor's tiers are %s",
            PROPERTY,
            number,
            supported().stream()
                .map(tier -> tier.number + " (" + tier.displayName + ")")
                .toList()));
  }

  /**
   * The tier of this processor that was measured to be taken, or the one that {@value #PROPERTY}
   * names.
   *
   * @throws UsageException if the property is not a number of a supported tier
   */
  public static CpuTier selected() {
    CpuTier forced = forced();
    return forced != null ? forced : TierRates.measured().taken();
  }

  /**
   * Which tier {@link #selected} is, why, and how quick each one is: {@code AVX-512: no lower tier
   * is clearly faster; portable 58,000 tokens/s, …}.
   */
  public static String describeSelected() {
    TierRates rates = TierRates.measured();
    CpuTier selected = selected();
    String reason;
    if (forced() != null) {
      reason = PROPERTY + "=" + selected.number;
    } else if (selected == supported().getLast()) {
      reason = "no lower tier is clearly faster";
    } else {
      reason = "clearly faster than " + supported().getLast().displayName;
    }
    return selected.displayName + ": " + reason + "; " + rates;
  }
}
