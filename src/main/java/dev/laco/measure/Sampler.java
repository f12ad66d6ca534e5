package dev.laco.measure;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;
import java.util.Random;
import java.util.random.RandomGenerator;
import java.util.stream.IntStream;

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

  /** By which the weight of tokens that are looked at falls, until they make up the nucleus. */
  private static final double STEP = 4;

  /** Samples from all tokens. */
  public static Sampler of(double temperature, RandomGenerator random) {
    return new Sampler(temperature, 0, 1, 0, 1, random);
  }

  /**
   * The tokens chosen from some rows of logits, one for each; their random numbers are drawn in the
   * order of the rows. The device chooses.
   *
   * @param logits {@code [R, V]}; those of tokens that may not be chosen become negative infinity
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
      float[] values = new float[Math.toIntExact(logits.columns())];
      for (int i = 0; i < shares.length; i++) {
        Tensor row = logits.slice(i, i + 1);
        backend.download(row, values);
        penalize(values, texts.get(i));
        if (temperature > 0) {
          keepTopK(values);
          keepLikely(values);
        }
        backend.upload(values, row);
      }
    }
    int[] tokens = new int[shares.length];
    backend.sample(logits, temperature, shares, tokens);
    return tokens;
  }

  private void penalize(float[] logits, BitSet text) {
    float penalty = (float) repetitionPenalty;
    text.stream()
        .forEach(i -> logits[i] = logits[i] < 0 ? logits[i] * penalty : logits[i] / penalty);
  }

  /** Keeps tokens as likely as the last of the most likely ones, as transformers does. */
  private void keepTopK(float[] logits) {
    if (topK == 0 || topK >= logits.length) {
      return;
    }
    PriorityQueue<Float> largest = new PriorityQueue<>();
    for (float logit : logits) {
      if (largest.size() < topK) {
        largest.add(logit);
      } else if (logit > largest.element()) {
        largest.remove();
        largest.add(logit);
      }
    }
    float least = largest.element();
    for (int i = 0; i < logits.length; i++) {
      logits[i] = logits[i] < least ? Float.NEGATIVE_INFINITY : logits[i];
    }
  }

  /** Keeps the tokens of the nucleus that are likely enough beside the most likely one. */
  private void keepLikely(float[] logits) {
    if (topP == 1 && minP == 0) {
      return;
    }
    double[] weights = weights(logits);
    double nucleus = topP * sum(weights, 0);
    // Few tokens make up the nucleus: only those are sorted that are as likely as its last ones.
    double least = 1;
    while (least > minP && sum(weights, least) < nucleus) {
      least /= STEP;
    }
    double floor = Math.max(least, minP);
    List<Integer> ranked =
        IntStream.range(0, logits.length)
            .filter(i -> weights[i] >= floor)
            .boxed()
            .sorted(Comparator.comparingDouble(i -> -weights[i]))
            .toList();
    float[] all = logits.clone();
    Arrays.fill(logits, Float.NEGATIVE_INFINITY);
    double sum = 0;
    for (int i = 0; i < ranked.size() && (i == 0 || sum < nucleus); i++) {
      int token = ranked.get(i);
      logits[token] = all[token];
      sum += weights[token];
    }
  }

  /** How likely tokens are, in the probability of the most likely one. */
  private double[] weights(float[] logits) {
    float most = Float.NEGATIVE_INFINITY;
    for (float logit : logits) {
      most = Math.max(most, logit);
    }
    double[] weights = new double[logits.length];
    for (int i = 0; i < weights.length; i++) {
      weights[i] = Math.exp(((double) logits[i] - most) / temperature);
    }
    return weights;
  }

  /** The sum of those weights that are at least so large. */
  private static double sum(double[] weights, double least) {
    double sum = 0;
    for (double weight : weights) {
      sum += weight >= least ? weight : 0;
    }
    return sum;
  }
}
