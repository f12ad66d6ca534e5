package dev.laco.measure;

import java.util.Comparator;
import java.util.PriorityQueue;
import java.util.random.RandomGenerator;

/**
 * Chooses the next token from logits.
 *
 * @param temperature 0: the most likely token; above: logits are divided by it before sampling
 * @param topP sample from the most likely tokens whose probabilities add up to this much (nucleus
 *     sampling, Holtzman et al. 2020)
 */
public record Sampler(double temperature, double topP, RandomGenerator random) {

  /** The index chosen. */
  public int choose(float[] logits) {
    return temperature == 0 ? mostLikely(logits) : sample(logits);
  }

  /** The index of the largest logit; of equal ones the lowest. */
  static int mostLikely(float[] logits) {
    int best = 0;
    for (int i = 1; i < logits.length; i++) {
      if (logits[i] > logits[best]) {
        best = i;
      }
    }
    return best;
  }

  private int sample(float[] logits) {
    double max = logits[mostLikely(logits)];
    double total = 0;
    for (float logit : logits) {
      total += weight(logit, max);
    }
    if (topP >= 1) {
      return weighted(logits, max, random.nextDouble() * total);
    }
    PriorityQueue<Integer> likeliest =
        new PriorityQueue<>(
            Comparator.comparingDouble((Integer i) -> -logits[i]).thenComparing(i -> i));
    for (int i = 0; i < logits.length; i++) {
      likeliest.add(i);
    }
    // First the tokens of the nucleus, then one of them by its weight.
    int[] nucleus = new int[logits.length];
    double mass = 0;
    int size = 0;
    while (size < logits.length && (size == 0 || mass < topP * total)) {
      nucleus[size] = likeliest.remove();
      mass += weight(logits[nucleus[size]], max);
      size++;
    }
    double point = random.nextDouble() * mass;
    for (int i = 0; i < size; i++) {
      point -= weight(logits[nucleus[i]], max);
      if (point < 0) {
        return nucleus[i];
      }
    }
    return nucleus[size - 1];
  }

  /** The token at which the sum of the weights, in the order of the vocabulary, passes a point. */
  private int weighted(float[] logits, double max, double point) {
    double left = point;
    int last = 0;
    for (int i = 0; i < logits.length; i++) {
      double weight = weight(logits[i], max);
      left -= weight;
      last = weight > 0 ? i : last;
      if (left < 0) {
        return i;
      }
    }
    return last;
  }

  private double weight(double logit, double max) {
    return Math.exp((logit - max) / temperature);
  }
}
