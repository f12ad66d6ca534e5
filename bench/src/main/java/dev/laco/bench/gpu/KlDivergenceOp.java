package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;

import dev.laco.backend.DivergenceState;
import dev.laco.backend.Head;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.bench.Values;
import dev.laco.model.LogitSpec;
import java.lang.foreign.MemorySegment;
import java.util.List;

/** {@code kl_divergence}: one panel of both logits, as large as the engine makes them. */
final class KlDivergenceOp implements Op {
  /** Absolute, in nats, as the engine's contract test has it. */
  private static final double TOLERANCE = 2e-5;

  /** Of both logits. */
  private static final long PANEL_BYTES = 64L << 20;

  private static final int ROWS = 2048;
  private static final int BLOCK = 256;

  @Override
  public String name() {
    return "kl_divergence";
  }

  @Override
  public List<Variant> variants() {
    return Variant.of("kl_divergence", "laco_kl_divergence_%s_v1", F32);
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(large.isLarge() ? large.withLengths(List.of(ROWS)) : large);
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    int rows = sizes.tokens();
    long columns = Math.min(sizes.config().vocabSize(), PANEL_BYTES / 8 / rows);
    Tensor logits = lab.random(F32, rows, columns, 8);
    Tensor reference = lab.random(F32, rows, columns, 8);
    double[] states = new double[(int) (rows * DivergenceState.BYTES / Double.BYTES)];
    long state = lab.room(rows * DivergenceState.BYTES);
    return new Job(lab)
        .launches(
            Grid.of(rows, BLOCK),
            new Arguments()
                .pointer(logits)
                .pointer(reference)
                .pointer(state)
                .int64(columns)
                .int64(0))
        .moves(8.0 * logits.elements(), (double) rows * DivergenceState.BYTES)
        .checks(
            on -> {
              MemorySegment memory = MemorySegment.ofArray(states);
              lab.device().download(state, memory);
              double[] expected = expected(sizes, on.of(logits), on.of(reference), on);
              List<Long> tokens = on.rows(logits);
              for (int i = 0; i < expected.length; i++) {
                double found = DivergenceState.divergence(memory, tokens.get(i));
                Values.requireClose("divergence", found, expected[i], TOLERANCE);
              }
            })
        .samples(Samples.ofTokens(sizes, lab));
  }

  /** The logits are what hidden states under the unit matrix give. */
  private static double[] expected(
      Sizes sizes, MemoryTensor logits, MemoryTensor reference, Reference on) {
    MemoryTensor unit = on.zeros(F32, logits.columns(), logits.columns());
    for (long i = 0; i < logits.columns(); i++) {
      unit.set(i * logits.columns() + i, 1);
    }
    double[] expected = new double[Math.toIntExact(logits.rows())];
    try (TokenBatch batch = on.batch(sizes.packed())) {
      on.backend()
          .klDivergence(logits, reference, new Head(unit, LogitSpec.PLAIN), batch, expected);
    }
    return expected;
  }
}
