package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;

import dev.laco.backend.Tensor;
import dev.laco.bench.Values;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/** {@code sample}: the next tokens of all texts that are written at a time. */
final class SampleOp implements Op {
  /** Absolute, of probabilities. */
  private static final double TOLERANCE = 1e-6;

  private static final int TEXTS = 64;
  private static final int PART = 1024;
  private static final int BLOCK = 1024;

  @Override
  public String name() {
    return "sample";
  }

  @Override
  public List<Variant> variants() {
    return Variant.of("sample", "laco_sample_%s_v1", F32);
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(large);
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    long columns = sizes.config().vocabSize();
    Tensor logits = lab.random(F32, TEXTS, columns, 8);
    double[] shares = new double[TEXTS];
    Arrays.setAll(shares, r -> (r + 0.5) / TEXTS);
    long tokens = lab.room((long) TEXTS * Integer.BYTES);
    return new Job(lab)
        .launches(
            Grid.of(TEXTS, BLOCK),
            new Arguments()
                .pointer(logits)
                .pointer(lab.table(shares))
                .pointer(lab.room(TEXTS * Math.ceilDiv(columns, PART) * Double.BYTES))
                .pointer(tokens)
                .int64(columns)
                .float32(1))
        .moves(4.0 * logits.elements(), (double) TEXTS * Integer.BYTES)
        .checks(
            reference -> {
              int[] found = new int[TEXTS];
              lab.device().download(tokens, MemorySegment.ofArray(found));
              List<Long> rows = reference.rows(logits);
              for (int i = 0; i < rows.size(); i++) {
                int row = rows.get(i).intValue();
                float[] values = reference.of(logits).row(i);
                requireChosen(values, found[row], shares[row]);
              }
            })
        .samples(new Samples().rows(Samples.of(TEXTS), logits));
  }

  /**
   * The share lies between the probabilities up to the token before the chosen one and up to it.
   */
  private static void requireChosen(float[] logits, int token, double share) {
    double before = 0;
    double total = 0;
    for (int v = 0; v < logits.length; v++) {
      total += Math.exp(logits[v]);
      before += v < token ? Math.exp(logits[v]) : 0;
    }
    double half = Math.exp(logits[token]) / total / 2;
    Values.requireClose("share", share, before / total + half, half + TOLERANCE);
  }
}
