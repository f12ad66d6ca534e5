package dev.laco.scoring;

import dev.laco.backend.ScoringOps;
import dev.laco.backend.Tensor;
import dev.laco.transformer.RunningModel;
import java.util.List;

/**
 * How large what each layer adds to the residual stream is: attention {@code a}, feed-forward
 * {@code f}.
 */
public final class UpdateSizes implements ResidualStream.Reader {
  private final ScoringOps backend;
  private final double[] attention;
  private final double[] feedForward;
  private final double[] share;
  private final long[] tokens;

  /** No tokens yet. */
  public UpdateSizes(RunningModel running) {
    int layers = running.config().numHiddenLayers();
    backend = running.backend();
    attention = new double[layers];
    feedForward = new double[layers];
    share = new double[layers];
    tokens = new long[layers];
  }

  @Override
  public void layer(int layer, Tensor before, Tensor attended, Tensor fedForward) {
    int rows = Math.toIntExact(before.rows());
    double[] products = backend.pairProducts(List.of(before, attended, fedForward), rows);
    for (int t = 0; t < rows; t++) {
      double stream = Math.sqrt(products[9 * t]);
      double a = Math.sqrt(products[9 * t + 4]);
      double f = Math.sqrt(products[9 * t + 8]);
      attention[layer] += a / stream;
      feedForward[layer] += f / stream;
      share[layer] += a / (a + f);
    }
    tokens[layer] += rows;
  }

  /** {@code |a| / |x|} for each layer, where {@code x} is its input, mean over tokens. */
  public double[] attention() {
    return means(attention);
  }

  /** {@code |f| / |x|} for each layer, mean over tokens. */
  public double[] feedForward() {
    return means(feedForward);
  }

  /**
   * Attention's share of the update, {@code |a| / (|a| + |f|)}, for each layer, mean over tokens.
   */
  public double[] attentionShare() {
    return means(share);
  }

  private double[] means(double[] sums) {
    double[] means = new double[sums.length];
    for (int layer = 0; layer < sums.length; layer++) {
      means[layer] = sums[layer] / tokens[layer];
    }
    return means;
  }
}
