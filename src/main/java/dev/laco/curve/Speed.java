package dev.laco.curve;

import dev.laco.measure.Prefill;
import dev.laco.measure.TimedRuns;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import java.util.Arrays;
import java.util.List;

/**
 * How fast models run over a text: all sequences in one batch, without the head.
 *
 * @param original tokens of the original in a second
 * @param pruned tokens of the pruned model in a second
 */
record Speed(double original, double pruned) {
  /** For about a second. */
  private static final TimedRuns RUNS = new TimedRuns(1, 9, 1);

  /**
   * Runs both models in turn. The fastest run counts, since what else the machine does only slows a
   * run down.
   */
  static Speed of(CausalLm original, CausalLm pruned, PackedSequences sequences) {
    try (Prefill prefill = new Prefill(original, sequences)) {
      double[][] seconds =
          RUNS.of(List.of(() -> prefill.seconds(original), () -> prefill.seconds(pruned)));
      pruned.release();
      return new Speed(
          sequences.size() / Arrays.stream(seconds[0]).min().orElseThrow(),
          sequences.size() / Arrays.stream(seconds[1]).min().orElseThrow());
    }
  }

  /** How many times as fast the pruned model is. */
  double speedup() {
    return pruned / original;
  }
}
