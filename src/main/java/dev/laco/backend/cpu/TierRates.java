package dev.laco.backend.cpu;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.KernelCode;
import dev.laco.backend.MemoryArena;
import dev.laco.model.Activation;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import java.lang.foreign.MemorySegment;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * How fast our kernels are in each tier. A processor with wider vectors need not be faster with
 * them, so the kernels of every tier that the processor has are timed, once a process.
 *
 * @param tokensPerSecond how many tokens one thread takes in a second through the kernels of a
 *     small layer, its products excepted
 */
record TierRates(NavigableMap<CpuTier, Double> tokensPerSecond) {
  private static @Nullable TierRates measured;

  TierRates {
    tokensPerSecond = Collections.unmodifiableNavigableMap(new TreeMap<>(tokensPerSecond));
  }

  /** The rates, measured at the first call in the process. */
  static synchronized TierRates measured() {
    if (measured == null) {
      measured = measure();
    }
    return measured;
  }

  /** The tier to use: the highest, unless a lower one is clearly faster. */
  CpuTier taken() {
    Map.Entry<CpuTier, Double> taken = tokensPerSecond.lastEntry();
    for (Map.Entry<CpuTier, Double> lower : tokensPerSecond.descendingMap().entrySet()) {
      if (Timing.isClearlyFaster(lower.getValue(), taken.getValue())) {
        taken = lower;
      }
    }
    return taken.getKey();
  }

  /** {@code portable 58,000 tokens/s, AVX2 139,000 tokens/s}. */
  @Override
  public String toString() {
    return tokensPerSecond.entrySet().stream()
        .map(
            rate ->
                String.format(
                    Locale.ROOT, "%s %,.0f tokens/s", rate.getKey().displayName(), rate.getValue()))
        .collect(Collectors.joining(", "));
  }

  private static TierRates measure() {
    List<CpuTier> tiers = CpuTier.supported();
    List<CpuKernels> kernels =
        tiers.stream().map(tier -> new CpuKernels(CpuLibraries.get().kernels(), tier)).toList();
    try (Layer layer = new Layer()) {
      List<Runnable> ways = kernels.stream().<Runnable>map(each -> () -> layer.run(each)).toList();
      double[] rates = Timing.rates(kernels.getFirst(), ways);
      NavigableMap<CpuTier, Double> tokensPerSecond = new TreeMap<>();
      for (int i = 0; i < rates.length; i++) {
        tokensPerSecond.put(tiers.get(i), Layer.TOKENS * rates[i]);
      }
      return new TierRates(tokensPerSecond);
    }
  }

  /**
   * The kernels that take the most time of a layer after its products: norm, attention, gated
   * activation, and for one bf16 matrix the mix of two originals and widening.
   */
  private static final class Layer implements AutoCloseable {
    static final int TOKENS = 128;

    private static final int HEADS = 8;
    private static final int KEY_HEADS = 4;
    private static final int HEAD_WIDTH = 64;
    private static final int WIDTH = HEADS * HEAD_WIDTH;
    private static final int INTERMEDIATE = 3 * WIDTH;
    private static final int MATRIX = WIDTH * WIDTH;

    private static final NormSpec NORM = new NormSpec(1e-5, 0);
    private static final LogitSpec SCORES = new LogitSpec(0.125, 0);

    private final MemoryArena memory = new MemoryArena();
    private final Scratch attentionScratch = new Scratch();
    private final MemorySegment states = filled(DType.F32, TOKENS * INTERMEDIATE);
    private final MemorySegment others = filled(DType.F32, TOKENS * INTERMEDIATE);
    private final MemorySegment out = filled(DType.F32, Math.max(TOKENS * INTERMEDIATE, MATRIX));
    private final MemorySegment mixed = filled(DType.BF16, MATRIX);
    private final MemorySegment sources =
        memory.allocateFrom(
            JAVA_LONG, filled(DType.BF16, MATRIX).address(), filled(DType.BF16, MATRIX).address());
    private final MemorySegment coefficients = memory.allocateFrom(JAVA_DOUBLE, 0.5, 0.5);
    private final MemorySegment dtypes =
        memory.allocateFrom(JAVA_INT, KernelCode.of(DType.BF16), KernelCode.of(DType.BF16));
    private final MemorySegment offsets = memory.allocateFrom(JAVA_INT, 0, TOKENS);
    private final MemorySegment past = memory.allocateFrom(JAVA_INT, 0);

    void run(CpuKernels kernels) {
      kernels.rmsNorm(states, mixed, DType.BF16, NORM, TOKENS, WIDTH, out, DType.F32);
      kernels.attention(
          false,
          states,
          others,
          others,
          HEADS,
          KEY_HEADS,
          HEAD_WIDTH,
          0,
          SCORES,
          MemorySegment.NULL,
          MemorySegment.NULL,
          offsets,
          offsets,
          past,
          1,
          attentionScratch.atLeast(kernels.attentionScratch(HEAD_WIDTH, false) * Float.BYTES),
          out,
          MemorySegment.NULL);
      kernels.gatedActivation(
          Activation.SILU, states, others, TOKENS * INTERMEDIATE, out, DType.F32);
      kernels.mix(mixed, DType.BF16, MATRIX, coefficients, sources, dtypes, 2);
      kernels.widen(mixed, DType.BF16, MATRIX, out);
    }

    private MemorySegment filled(DType dtype, int elements) {
      return memory.allocate(dtype, 1, elements).data().fill(Timing.FILL);
    }

    @Override
    public void close() {
      attentionScratch.close();
      memory.close();
    }
  }
}
