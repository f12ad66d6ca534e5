package dev.laco.bench.gpu;

import static dev.laco.model.DType.F32;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;

import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.bench.Values;
import java.lang.foreign.MemorySegment;
import java.util.List;

/** {@code cosine_pairs}: every layer's hidden states with every other's, per sequence. */
final class CosinePairsOp implements Op {
  private static final double TOLERANCE = 1e-6;
  private static final int BLOCK = 256;

  /** States of a side of the square that a block takes. */
  private static final int TILE = 4;

  @Override
  public String name() {
    return "cosine_pairs";
  }

  @Override
  public List<Variant> variants() {
    return Variant.of("cosine", "laco_cosine_pairs_%s_v2", F32);
  }

  /** The inputs of all layers and the last one's output. */
  @Override
  public List<Sizes> timed(Sizes trial, Sizes large) {
    return List.of(trial.withCandidates(trial.config().numHiddenLayers() + 1));
  }

  @Override
  public Job prepare(Variant variant, Sizes sizes, Lab lab) {
    int count = sizes.candidates();
    int parts = CosineOp.parts(sizes);
    int sequences = sizes.lengths().size();
    List<Tensor> states = lab.random(count, F32, sizes.tokens(), sizes.hidden(), 1);
    double[] dots = new double[sequences * count * count * parts];
    long partial = lab.room(8L * dots.length);
    long tiles = Math.ceilDiv(count, TILE);
    double pairs = count * (count + 1) / 2.0;
    return new Job(lab)
        .launches(
            new Grid(tiles * (tiles + 1) / 2, parts, sequences, BLOCK, 0),
            new Arguments()
                .pointer(lab.pointers(states))
                .pointer(lab.table(sizes.packed().offsets()))
                .pointer(partial)
                .int64(sizes.hidden())
                .int32(count))
        .moves(4.0 * count * sizes.tokens() * sizes.hidden(), 8.0 * sequences * pairs * parts)
        .samples(Samples.ALL)
        .checks(
            reference -> {
              MemorySegment memory = MemorySegment.ofArray(dots);
              lab.device().download(partial, memory);
              Dots sums = new Dots(memory, count, parts);
              try (TokenBatch batch = reference.batch(sizes.packed())) {
                for (int i = 0; i < count; i++) {
                  for (int j = i; j < count; j++) {
                    double[] expected =
                        reference
                            .backend()
                            .cosine(
                                reference.of(states.get(i)), reference.of(states.get(j)), batch);
                    for (int s = 0; s < sequences; s++) {
                      Values.requireClose("cosine", sums.cosine(s, i, j), expected[s], TOLERANCE);
                    }
                  }
                }
              }
            });
  }

  /** Parts of dot products, on and above the diagonal. */
  private record Dots(MemorySegment memory, int count, int parts) {
    double cosine(int sequence, int i, int j) {
      return dot(sequence, i, j) / Math.sqrt(dot(sequence, i, i) * dot(sequence, j, j));
    }

    private double dot(int sequence, int i, int j) {
      long first = (((long) sequence * count + i) * count + j) * parts;
      double sum = 0;
      for (long part = first; part < first + parts; part++) {
        sum += memory.getAtIndex(JAVA_DOUBLE, part);
      }
      return sum;
    }
  }
}
