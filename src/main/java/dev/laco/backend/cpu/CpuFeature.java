package dev.laco.backend.cpu;

import dev.laco.ffi.Downcalls;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.List;

/**
 * Instruction set extensions that the processor has and the operating system lets programs use; the
 * bits are those of {@code cpu.cpp}.
 */
public enum CpuFeature {
  /** AVX2, FMA and F16C. */
  AVX2(1, "AVX2+FMA+F16C"),
  /** AVX-512 F, BW, DQ and VL. */
  AVX512(2, "AVX-512"),
  /** Dot products of bf16 numbers. */
  AVX512_BF16(4, "AVX512-BF16"),
  /** Arithmetic in f16. */
  AVX512_FP16(8, "AVX512-FP16"),
  /** Products of tiles of bf16 numbers. */
  AMX_BF16(16, "AMX-BF16");

  /** {@code int32_t laco_cpu_features(void)}. */
  private static final MethodHandle LACO_CPU_FEATURES = Downcalls.ofInt();

  private final int mask;
  private final String displayName;

  CpuFeature(int mask, String displayName) {
    this.mask = mask;
    this.displayName = displayName;
  }

  /** The features of this processor. */
  public static List<CpuFeature> present() {
    return Arrays.stream(values()).filter(CpuFeature::isPresent).toList();
  }

  /** Whether this processor has the feature. */
  public boolean isPresent() {
    return (bits() & mask()) != 0;
  }

  /** Whether this processor has what kernels of tiles use, which round vectors to bf16, too. */
  static boolean hasTiles() {
    return AMX_BF16.isPresent() && AVX512_BF16.isPresent();
  }

  int mask() {
    return mask;
  }

  static int bits() {
    MemorySegment function = CpuLibraries.get().kernels().function("laco_cpu_features");
    return Downcalls.call(() -> (int) LACO_CPU_FEATURES.invokeExact(function));
  }

  @Override
  public String toString() {
    return displayName;
  }
}
