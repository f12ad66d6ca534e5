package dev.laco.measure;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import java.util.Comparator;
import java.util.PriorityQueue;
import java.util.Random;
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
  /** Chooses the most likely tokens, and draws no random number. */
  public static final Sampler GREEDY = new Sampler(0, 1, new Random(0));

  /**
   * The tokens chosen from some rows of logits, one for each; their random numbers are drawn in the
   * order of the rows. Where all tokens may be chosen, the device chooses.
   *
   * @param logits {@code [R, V]}
   */
  public int[] choose(Backend backend, Tensor logits) {
    double[] shares = new double[Math.toIntExact(logits.rows())];
    if (temperature > 0) {
      for (int i = 0; i < shares.length; i++) {
        shares[i] = random.nextDouble();
      }
    }
    if (temperature > 0 && topP < 1) {
      return IntStream.range(0, shares.length)
          .map(i -> nucleus(row(backend, logits, i), shares[i]))
          .toArray();
    }
    int[] tokens = new int[shares.length];
    backend.sample(logits, temperature, shares, tokens);
    return tokens;
  }

  private static float[] row(Backend backend, Tensor logits, int row) {
    float[] values = new float[Math.toIntExact(logits.columns())];
    backend.download(logits.slice(row, row + 1), values);
    return values;
  }

  /** One of the tokens of the nucleus, the most likely ones first. */
  private int nucleus(float[] logits, double share) {
    PriorityQueue<Integer> likeliest =
        new PriorityQueue<>(
            Comparator.comparingDouble((Integer i) -> -logits[i]).thenComparing(i -> i));
    IntStream.range(0, logits.length).forEach(likeliest::add);
    int best = likeliest.element();
    double total = 0;
    for (int i = 0; i < logits.length; i++) {
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

  private double weight(float[] logits, int token, int best) {
    return Math.exp(((double) logits[token] - logits[best]) / temperature);
  }
}
