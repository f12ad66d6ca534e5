package dev.laco.measure;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;
import java.util.Random;
import java.util.random.RandomGenerator;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Chooses next tokens from logits. What is set besides the temperature is applied in this order, as
 * transformers does: repetition penalty, temperature, {@code topK}, {@code topP}, {@code minP}.
 *
 * @param temperature 0: the most likely token; above: logits are divided by it before sampling
 * @param topK sample from so many of the most likely tokens; 0 for all
 * @param topP sample from the most likely tokens whose probabilities add up to this much (nucleus
 *     sampling, Holtzman et al. 2020); 1 for all
 * @param minP sample from tokens at least so likely as this share of the most likely token's
 *     probability (Nguyen et al. 2024); 0 for all
 * @param repetitionPenalty by which logits of tokens that the text has already are divided, or
 *     multiplied where they are negative (Keskar et al. 2019); 1 for none
 */
public record Sampler(
    double temperature,
    int topK,
    double topP,
    double minP,
    double repetitionPenalty,
    RandomGenerator random) {
  /** Chooses the most likely tokens, and draws no random number. */
  public static final Sampler GREEDY = of(0, new Random(0));

  /** Samples from all tokens. */
  public static Sampler of(double temperature, RandomGenerator random) {
    return new Sampler(temperature, 0, 1, 0, 1, random);
  }

  /**
   * The tokens chosen from some rows of logits, one for each; their random numbers are drawn in the
   * order of the rows. Where logits stay as they are and all tokens may be chosen, the device
   * chooses.
   *
   * @param logits {@code [R, V]}
   * @param texts the tokens that the text of each row has already
   */
  public int[] choose(Backend backend, Tensor logits, List<BitSet> texts) {
    double[] shares = new double[Math.toIntExact(logits.rows())];
    if (temperature > 0) {
      for (int i = 0; i < shares.length; i++) {
        shares[i] = random.nextDouble();
      }
    }
    if (repetitionPenalty != 1 || (temperature > 0 && (topK > 0 || topP < 1 || minP > 0))) {
      return IntStream.range(0, shares.length)
          .map(i -> likely(penalized(row(backend, logits, i), texts.get(i)), shares[i]))
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

  private float[] penalized(float[] logits, BitSet text) {
    float penalty = (float) repetitionPenalty;
    text.stream()
        .forEach(i -> logits[i] = logits[i] < 0 ? logits[i] * penalty : logits[i] / penalty);
    return logits;
  }

  /** The most likely token; of equally likely ones the lowest id. */
  private static int likeliest(float[] logits) {
    int best = 0;
    for (int i = 1; i < logits.length; i++) {
      if (logits[i] > logits[best]) {
        best = i;
      }
    }
    return best;
  }

  /** One of the tokens that are likely enough, the most likely ones first. */
  private int likely(float[] logits, double share) {
    if (temperature == 0) {
      return likeliest(logits);
    }
    PriorityQueue<Integer> likeliest =
        new PriorityQueue<>(
            Comparator.comparingDouble((Integer i) -> -logits[i]).thenComparing(i -> i));
    IntStream.range(0, logits.length).forEach(likeliest::add);
    int best = likeliest.element();
    if (topK > 0) {
      List<Integer> first =
          Stream.generate(likeliest::remove).limit(Math.min(topK, logits.length)).toList();
      likeliest.clear();
      likeliest.addAll(first);
    }
    double total = likeliest.stream().mapToDouble(i -> weight(logits, i, best)).sum();
    int[] chosen = new int[likeliest.size()];
    double mass = 0;
    int size = 0;
    while (size == 0
        || (size < chosen.length
            && mass < topP * total
            && weight(logits, likeliest.element(), best) >= minP)) {
      chosen[size] = likeliest.remove();
      mass += weight(logits, chosen[size], best);
      size++;
    }
    double left = share * mass;
    for (int i = 0; i < size; i++) {
      left -= weight(logits, chosen[i], best);
      if (left < 0) {
        return chosen[i];
      }
    }
    return chosen[size - 1];
  }

  /** How likely a token is, in the probability of the most likely one. */
  private double weight(float[] logits, int token, int best) {
    return Math.exp(((double) logits[token] - logits[best]) / temperature);
  }
}
