package dev.laco.collapse;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How close a plan is to the original: the cosine of the last hidden states after the final norm,
 * flattened, for each calibration sentence, and what it says of the next tokens where that was
 * asked for.
 *
 * @param similarities one per sentence
 * @param language null where only similarity is measured
 */
public record Score(List<Double> similarities, @Nullable Language language) {
  /** The score of the original itself, where nothing had to be run for it. */
  public static final Score UNCHANGED = new Score(List.of(1.0));

  /**
   * The model as a language model, on the calibration tokens.
   *
   * @param nll mean negative log-likelihood of the next token, nats
   * @param kl mean Kullback-Leibler divergence of its distribution from the original's, nats; null
   *     where it was not asked for: it costs another two products with the head
   */
  public record Language(double nll, @Nullable Double kl) {}

  public Score {
    similarities = List.copyOf(similarities);
  }

  /** A score of similarity alone. */
  public Score(List<Double> similarities) {
    this(similarities, null);
  }

  /** Mean over sentences, f64. */
  public double mean() {
    double sum = 0;
    for (double similarity : similarities) {
      sum += similarity;
    }
    return sum / similarities.size();
  }
}
