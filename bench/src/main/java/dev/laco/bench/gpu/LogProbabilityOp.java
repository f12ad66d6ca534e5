package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;

import dev.laco.backend.Head;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.bench.Values;
import dev.laco.model.LogitSpec;
import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.util.List;

/** {@code log_probability}: one panel of logits, as large as the engine makes them. */
final class LogProbabilityOp implements Op {
  /** Absolute, in nats, as the engine's contract test has it. */
  private static final double TOLERANCE = 2e-5;

  private static final long PANEL_BYTES = 64L << 20;
  private static final int CHUNK = 2048;
  private static final int BLOCK = 256;

  @Override
  public String name() {
    return "log_probability";
  }

  @Override
  public List<Variant> variants() {
    return Variant.of("log_probability", "laco_log_probability_%s_v1", F32);
  }

  /** A chunk of a perplexity. */
  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(large.isLarge() ? large.withLengths(List.of(CHUNK)) : large);
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    int rows = sizes.tokens();
    long columns = Math.min(sizes.config().vocabSize(), PANEL_BYTES / 4 / rows);
    Tensor logits = lab.random(F32, rows, columns, 8);
    // Per row the running sum, the largest logit and the target's.
    double[] state = new double[2 * rows];
    long total = lab.room(16L * rows);
    return new Job(lab)
        .launches(
            Grid.of(rows, BLOCK),
            new Arguments()
                .pointer(logits)
                .pointer(lab.table(sizes.packed().targets()))
                .pointer(total)
                .pointer(total + 8L * rows)
                .pointer(total + 12L * rows)
                .int64(columns)
                .int64(0))
        .moves(4.0 * logits.elements(), 16.0 * rows)
        .checks(
            reference -> {
              MemorySegment memory = MemorySegment.ofArray(state);
              lab.device().download(total, memory);
              double[] expected = expected(sizes, reference.of(logits), reference);
              int[] targets = reference.packed(sizes.packed()).targets();
              List<Long> tokens = reference.rows(logits);
              for (int i = 0; i < expected.length; i++) {
                int t = tokens.get(i).intValue();
                if (targets[i] >= 0 && sizes.packed().targets()[t] >= 0) {
                  double largest = memory.get(JAVA_FLOAT, 8L * rows + 4L * t);
                  double target = memory.get(JAVA_FLOAT, 12L * rows + 4L * t);
                  Values.requireClose(
                      "log-probability",
                      target - largest - Math.log(state[t]),
                      expected[i],
                      TOLERANCE);
                }
              }
            })
        .samples(rows < 2 ? Samples.ALL : pairs(sizes.packed(), logits));
  }

  /** Some tokens, each with the one behind it, which is its target. */
  private static Samples pairs(PackedSequences packed, Tensor logits) {
    int[] tokens = packed.tokens();
    List<Integer> first =
        Samples.of(Math.ceilDiv(tokens.length, 2)).stream()
            .map(pair -> 2 * pair.intValue())
            .filter(token -> token + 1 < tokens.length)
            .toList();
    return new Samples()
        .rows(
            first.stream().flatMap(token -> Samples.range(token, token + 2).stream()).toList(),
            logits)
        .batch(
            PackedSequences.of(
                first.stream()
                    .map(token -> new int[] {tokens[token], tokens[token + 1]})
                    .toList()));
  }

  /** The logits are what hidden states under the unit matrix give. */
  private static double[] expected(Sizes sizes, MemoryTensor logits, Reference reference) {
    MemoryTensor unit = reference.zeros(F32, logits.columns(), logits.columns());
    for (long i = 0; i < logits.columns(); i++) {
      unit.set(i * logits.columns() + i, 1);
    }
    double[] expected = new double[Math.toIntExact(logits.rows())];
    try (TokenBatch batch = reference.batch(sizes.packed())) {
      reference.backend().logProbability(logits, new Head(unit, LogitSpec.PLAIN), batch, expected);
    }
    return expected;
  }
}
