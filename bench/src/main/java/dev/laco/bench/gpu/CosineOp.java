package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;

import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cuda.CudaScoring;
import dev.laco.bench.Target;
import dev.laco.bench.Values;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code cosine}: the hidden states of many candidates against the reference's, per sequence. */
final class CosineOp implements Op {
  /** Of a batch of trials: with the reference 24 MB at a hidden size of 4096. */
  private static final int TRIALS = 16;

  /** Of wider states the batch is no longer in the cache. */
  private static final long CACHED_WIDTH = 4096;

  private static final int LARGE_CANDIDATES = 3;
  private static final double TARGET_SECONDS = 15e-6;
  private static final double TARGET = 0.92;

  /** Sums that end in f64: what is left is the rounding of products within a run. */
  private static final double TOLERANCE = 1e-6;

  private static final int BLOCK = 256;

  @Override
  public String name() {
    return "cosine";
  }

  @Override
  public List<Variant> variants() {
    return Variant.of("cosine", "laco_cosine_%s_v2", F32);
  }

  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial.withCandidates(TRIALS), large.withCandidates(LARGE_CANDIDATES));
  }

  @Override
  public @Nullable Target target(Variant variant, Sizes sizes, BenchDevice card) {
    if (sizes.isTrial() && sizes.hidden() <= CACHED_WIDTH) {
      return Target.under(TARGET_SECONDS);
    }
    return sizes.isLarge() ? Target.ofCeiling(TARGET) : null;
  }

  /** Blocks that share a sequence, as the engine chooses them. */
  static int parts(Sizes sizes) {
    return CudaScoring.cosineParts(sizes.longest(), sizes.hidden());
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    int parts = parts(sizes);
    int sequences = sizes.lengths().size();
    int candidates = sizes.candidates();
    Tensor original = lab.random(F32, sizes.tokens(), sizes.hidden(), 1);
    List<Tensor> others = lab.random(candidates, F32, sizes.tokens(), sizes.hidden(), 1);
    double[] sums = new double[candidates * sequences * parts * 3];
    long partial = lab.room(8L * sums.length);
    double bytes = 4.0 * original.elements() * (candidates + 1);
    Job job =
        new Job(lab)
            .launches(
                new Grid(candidates, parts, sequences, BLOCK, 0),
                new Arguments()
                    .pointer(lab.pointers(others))
                    .pointer(original)
                    .pointer(lab.table(sizes.packed().offsets()))
                    .pointer(partial)
                    .int64(sizes.hidden())
                    .int32(sequences))
            .moves(bytes, 8.0 * sums.length)
            .samples(Samples.ofSequences(sizes, lab))
            .checks(
                reference -> {
                  MemorySegment memory = MemorySegment.ofArray(sums);
                  lab.device().download(partial, memory);
                  List<Integer> chosen = reference.sequences(sequences);
                  try (TokenBatch batch = reference.batch(sizes.packed())) {
                    for (int c = 0; c < candidates; c++) {
                      double[] expected =
                          reference
                              .backend()
                              .cosine(reference.of(original), reference.of(others.get(c)), batch);
                      for (int i = 0; i < expected.length; i++) {
                        Values.requireClose(
                            "cosine",
                            cosine(memory, c * sequences + chosen.get(i), parts),
                            expected[i],
                            TOLERANCE);
                      }
                    }
                  }
                });
    return sizes.isLarge() ? job : job.cached();
  }

  /** Adds up the parts of one cosine. */
  private static double cosine(MemorySegment sums, int row, int parts) {
    double product = 0;
    double otherSquares = 0;
    double squares = 0;
    for (long part = (long) row * parts; part < (row + 1L) * parts; part++) {
      product += sums.getAtIndex(JAVA_DOUBLE, 3 * part);
      otherSquares += sums.getAtIndex(JAVA_DOUBLE, 3 * part + 1);
      squares += sums.getAtIndex(JAVA_DOUBLE, 3 * part + 2);
    }
    return product / Math.sqrt(otherSquares * squares);
  }
}
