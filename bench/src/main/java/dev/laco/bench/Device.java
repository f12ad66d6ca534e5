package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.cpu.CpuFeature;
import dev.laco.backend.cpu.CpuTier;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** A backend and its tier. */
enum Device {
  AVX512(CpuTier.AVX512),
  AVX2(CpuTier.AVX2),
  PORTABLE(CpuTier.PORTABLE),
  /** Its tier is that of the ceilings. */
  REFERENCE(CpuTier.PORTABLE);

  private final CpuTier tier;

  Device(CpuTier tier) {
    this.tier = tier;
  }

  static Device of(String name) {
    return valueOf(name.toUpperCase(Locale.ROOT));
  }

  /** Those that this machine has, the quickest first. */
  static List<Device> supported() {
    return Arrays.stream(values()).filter(device -> device.tier.isSupported()).toList();
  }

  String displayName() {
    return name().toLowerCase(Locale.ROOT);
  }

  /**
   * The dtype in which the library multiplies weights of a precision on this tier: few processors
   * multiply f16.
   */
  DType product(Precision precision) {
    boolean bf16 =
        precision == Precision.BF16 && tier == CpuTier.AVX512 && CpuFeature.AVX512_BF16.isPresent();
    return bf16 ? DType.BF16 : DType.F32;
  }

  /** What the process that measures it needs, so that the library, too, keeps to the tier. */
  String property() {
    return String.format(Locale.ROOT, "-D%s=%d", CpuTier.PROPERTY, tier.number());
  }

  Backend open(Compute compute, int threads) {
    return this == REFERENCE
        ? new ReferenceBackend(compute)
        : CpuBackend.open(compute, threads, tier);
  }
}
