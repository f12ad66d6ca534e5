package dev.laco.curve;

import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;

/**
 * How fast models run over a text: all sequences in one batch, without the head.
 *
 * @param original tokens of the original in a second
 * @param pruned tokens of the pruned model in a second
 */
record Speed(double original, double pruned) {
  /** Runs of each model, of which the first is not timed. */
  private static final int RUNS = 10;

  /** Seconds after which no more runs begin, once each model was timed. */
  private static final double ENOUGH = 1;

  /**
   * Runs both models in turn. The fastest run counts, since what else the machine does only slows a
   * run down.
   */
  static Speed of(CausalLm original, CausalLm pruned, PackedSequences sequences) {
    Backend backend = original.backend();
    long start = System.nanoTime();
    double[] best = {Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY};
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, original.config(), sequences.size());
        TokenBatch batch = original.batch(sequences)) {
      Tensor states = arena.allocate(DType.F32, sequences.size(), original.config().hiddenSize());
      for (int run = 0; run < RUNS && (run < 2 || Seconds.since(start) < ENOUGH); run++) {
        for (int which = 0; which < best.length; which++) {
          double seconds = seconds(which == 0 ? original : pruned, batch, states, work);
          if (run > 0) {
            best[which] = Math.min(best[which], seconds);
          }
        }
      }
      pruned.release();
    }
    return new Speed(sequences.size() / best[0], sequences.size() / best[1]);
  }

  private static double seconds(CausalLm model, TokenBatch batch, Tensor states, Workspace work) {
    long start = System.nanoTime();
    model.run(batch, states, work);
    // A GPU has only queued the work until something comes back.
    model.backend().download(states.slice(0, 1), new float[model.config().hiddenSize()]);
    return Seconds.since(start);
  }

  /** How many times as fast the pruned model is. */
  double speedup() {
    return pruned / original;
  }
}
