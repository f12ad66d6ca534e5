package dev.laco.measure;

import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;
import java.util.random.RandomGenerator;
import java.util.stream.IntStream;

/**
 * Chooses next tokens from logits.
 *
 * @param temperature 0: the most likely token; above: logits are divided by it before sampling
 * @param topP sample from the most likely tokens whose probabilities add up to this much (nucleus
 *     sampling, Holtzman et al. 2020)
 */
public record Sampler(double temperature, double topP, RandomGenerator random) {
  /**
   * Tokens of the vocabulary whose weights are added up first, so that the chosen one is looked for
   * among these alone.
   */
  private static final int PART = 1024;

  /**
   * The tokens chosen from some rows of logits. Rows are looked through at the same time; their
   * random numbers are drawn in the order of the rows.
   *
   * @return one token for each row
   */
  public int[] choose(List<float[]> rows) {
    double[] shares = new double[rows.size()];
    if (temperature > 0) {
      for (int i = 0; i < shares.length; i++) {
        shares[i] = random.nextDouble();
      }
    }
    return IntStream.range(0, shares.length)
        .parallel()
        .map(i -> temperature == 0 ? mostLikely(rows.get(i)) : sample(rows.get(i), shares[i]))
        .toArray();
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

  /** The token at which the weights of all that may be chosen, added up, pass a share of theirs. */
  private int sample(float[] logits, double share) {
    int best = mostLikely(logits);
    return topP < 1 ? nucleus(logits, best, share) : any(logits, best, share);
  }

  private double weight(float[] logits, int token, int best) {
    return Math.exp(((double) logits[token] - logits[best]) / temperature);
  }

  /** One of all tokens, in the order of the vocabulary. */
  private int any(float[] logits, int best, double share) {
    double[] parts = new double[Math.ceilDiv(logits.length, PART)];
    double total = 0;
    for (int i = 0; i < logits.length; i++) {
      parts[i / PART] += weight(logits, i, best);
    }
    for (double part : parts) {
      total += part;
    }
    double left = share * total;
    int part = 0;
    while (part < parts.length - 1 && left >= parts[part]) {
      left -= parts[part];
      part++;
    }
    for (int i = part * PART; i < Math.min((part + 1) * PART, logits.length); i++) {
      left -= weight(logits, i, best);
      if (left < 0) {
        return i;
      }
    }
    // Sums were rounded.
    return best;
  }

  /** One of the tokens of the nucleus, the most likely ones first. */
  private int nucleus(float[] logits, int best, double share) {
    PriorityQueue<Integer> likeliest =
        new PriorityQueue<>(
            Comparator.comparingDouble((Integer i) -> -logits[i]).thenComparing(i -> i));
    double total = 0;
    for (int i = 0; i < logits.length; i++) {
      likeliest.add(i);
      total += weight(logits, i, best);
    }
    int[] nucleus = new int[logits.length];
    double mass = 0;
    int size = 0;
    while (size < logits.length && (size == 0 || mass < topP * total)) {
      nucleus[size] = likeliest.remove();
      mass += weight(logits, nucleus[size], best);
      size++;
    }
    double left = share * mass;
    for (int i = 0; i < size; i++) {
      left -= weight(logits, nucleus[i], best);
      if (left < 0) {
        return nucleus[i];
      }
    }
    return nucleus[size - 1];
  }
}
