package dev.laco.transformer;

import dev.laco.backend.ForwardOps;
import dev.laco.backend.Tensor;
import dev.laco.model.Mixture;
import java.util.Arrays;

/** The tokens that each expert of a layer is given, and the shares of what it returns. */
final class Routing {
  /** Row numbers, by expert and ascending; those of expert e begin at {@code starts[e]}. */
  private final int[] rows;

  private final float[] shares;
  private final int[] starts;

  /**
   * Chooses experts for each token.
   *
   * @param logits of the router, {@code [T, E]}
   */
  Routing(ForwardOps backend, Mixture mixture, Tensor logits) {
    int tokens = Math.toIntExact(logits.rows());
    int[] experts = new int[tokens * mixture.chosen()];
    float[] chosenShares = new float[experts.length];
    backend.route(logits, mixture.normalised(), experts, chosenShares);
    starts = new int[mixture.experts() + 1];
    for (int expert : experts) {
      starts[expert + 1]++;
    }
    Arrays.parallelPrefix(starts, Integer::sum);
    int[] next = starts.clone();
    rows = new int[experts.length];
    shares = new float[experts.length];
    for (int i = 0; i < experts.length; i++) {
      int place = next[experts[i]]++;
      rows[place] = i / mixture.chosen();
      shares[place] = chosenShares[i];
    }
  }

  /** The numbers of the tokens that an expert is given, ascending; there may be none. */
  int[] rows(int expert) {
    return Arrays.copyOfRange(rows, starts[expert], starts[expert + 1]);
  }

  /** For each of these tokens, the factor on what the expert returns. */
  float[] shares(int expert) {
    return Arrays.copyOfRange(shares, starts[expert], starts[expert + 1]);
  }
}
