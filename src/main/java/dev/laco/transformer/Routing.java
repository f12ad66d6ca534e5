package dev.laco.transformer;

import dev.laco.backend.ForwardOps;
import dev.laco.backend.Tensor;
import dev.laco.model.LayerRole;
import dev.laco.model.Mixture;
import dev.laco.model.RouterSpec;
import java.util.Arrays;

/** The tokens that each expert of a layer is given, and the shares of what it returns. */
final class Routing {
  /** Row numbers, by expert and ascending; those of expert e begin at {@code starts[e]}. */
  private final int[] rows;

  private final float[] shares;
  private final int[] starts;
  private final RouterSpec router;

  /**
   * Chooses experts for each token.
   *
   * @param weights of the layer
   * @param logits of the router, {@code [T, E]}
   */
  Routing(ForwardOps backend, Mixture mixture, LayerWeights weights, Tensor logits) {
    router = mixture.router();
    int tokens = Math.toIntExact(logits.rows());
    int[] experts = new int[tokens * mixture.chosen()];
    float[] chosenShares = new float[experts.length];
    backend.route(logits, weights.find(LayerRole.ROUTER_CORRECTION), router, experts, chosenShares);
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

  /**
   * For each token the factor on what the expert of all tokens returns: the sigmoid of its router's
   * logit.
   *
   * @param logits {@code [T, 1]}
   */
  static float[] sharedShares(ForwardOps backend, Tensor logits) {
    float[] shares = new float[Math.toIntExact(logits.rows())];
    backend.download(logits, shares);
    for (int t = 0; t < shares.length; t++) {
      shares[t] = (float) (1 / (1 + Math.exp(-shares[t])));
    }
    return shares;
  }

  /** The numbers of the tokens that an expert is given, ascending; there may be none. */
  int[] rows(int expert) {
    return Arrays.copyOfRange(rows, starts[expert], starts[expert + 1]);
  }

  /** For each of these tokens, the factor on what the expert returns. */
  float[] shares(int expert) {
    return Arrays.copyOfRange(shares, starts[expert], starts[expert + 1]);
  }

  /**
   * The gradient by the router's logits, from that by the shares. With the share {@code s_e} of an
   * expert, the gradient {@code g_e} by it and the factor {@code f} on shares, it is {@code s_e
   * (g_e - sum_j s_j g_j / f)}, where only chosen experts have a {@code g}; experts that were not
   * chosen have a share only where the softmax is over all experts. Where scores are sigmoids
   * {@code p_e}, it is that times {@code 1 - p_e}, without the sum where shares are not normalised.
   *
   * @param logits {@code [T * E]}
   * @param byShare {@code [T][E]}
   * @return {@code [T * E]}
   */
  float[] byLogits(float[] logits, double[][] byShare) {
    int experts = starts.length - 1;
    double[][] all = new double[byShare.length][experts];
    for (int e = 0; e < experts; e++) {
      for (int i = starts[e]; i < starts[e + 1]; i++) {
        all[rows[i]][e] = shares[i];
      }
    }
    float[] gradient = new float[logits.length];
    for (int t = 0; t < byShare.length; t++) {
      boolean sigmoid = router.scores() == RouterSpec.Scores.SIGMOID;
      double common = 0;
      for (int e = 0; e < experts && (router.normalised() || !sigmoid); e++) {
        common += all[t][e] * byShare[t][e] / router.factor();
      }
      double[] share = all[t];
      if (!sigmoid && !router.normalised()) {
        share = softmax(logits, t * experts, experts);
        for (int e = 0; e < experts; e++) {
          share[e] *= router.factor();
        }
      }
      for (int e = 0; e < experts; e++) {
        int place = t * experts + e;
        double slope = sigmoid ? 1 / (1 + Math.exp(logits[place])) : 1;
        gradient[place] = (float) (share[e] * (byShare[t][e] - common) * slope);
      }
    }
    return gradient;
  }

  private static double[] softmax(float[] logits, int first, int count) {
    double most = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < count; i++) {
      most = Math.max(most, logits[first + i]);
    }
    double[] shares = new double[count];
    double sum = 0;
    for (int i = 0; i < count; i++) {
      shares[i] = Math.exp(logits[first + i] - most);
      sum += shares[i];
    }
    for (int i = 0; i < count; i++) {
      shares[i] /= sum;
    }
    return shares;
  }
}
