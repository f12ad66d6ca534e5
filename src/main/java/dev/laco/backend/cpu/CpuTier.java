package dev.laco.backend.cpu;

import dev.laco.UsageException;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** The sets of instructions that the kernels are compiled for, from the lowest to the highest. */
public enum CpuTier {
  /** The instructions of every x86-64 processor. */
  PORTABLE(0, "portable", 0),
  /** AVX2, FMA and F16C: Intel since 2013, AMD since 2015. */
  AVX2(1, "AVX2", CpuFeature.AVX2.mask()),
  /** AVX-512 F, BW, DQ and VL: Intel servers since 2017, AMD since 2022. */
  AVX512(2, "AVX-512", CpuFeature.AVX512.mask());

  /** The system property that forces a tier, for our kernels and for oneDNN. */
  public static final String PROPERTY = "laco.cpu.tier";

  private final int number;
  private final String displayName;
  private final int needs;

  CpuTier(int number, String displayName, int needs) {
    this.number = number;
    this.displayName = displayName;
    this.needs = needs;
  }

  /** The number that ends the names of the tier's kernels. */
  public int number() {
    return number;
  }

  /** The name for messages. */
  public String displayName() {
    return displayName;
  }

  /**
   * Whether the processor has the instructions of the tier and the operating system lets programs
   * use them.
   */
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
   * The tier that {@value #PROPERTY} names, or else the one that {@link TierRates} measures to be
   * the best of this processor.
   *
   * @throws UsageException if the property is not a number of a supported tier
   */
  public static CpuTier selected() {
    CpuTier forced = forced();
    return forced != null ? forced : TierRates.measured().taken();
  }

  /**
   * The {@link #selected} tier, the reason, and the measured rate of each tier: {@code AVX-512: no
   * lower tier is clearly faster; portable 58,000 tokens/s, …}.
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
