package dev.laco.collapse;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How close the model of a plan is to the original on the calibration sentences.
 *
 * @param similarities for each sentence, the cosine of the two models' last hidden states, after
 *     the final norm and flattened to one vector
 * @param language the quality of its next-token predictions; null if it was not measured
 */
public record Score(List<Double> similarities, @Nullable Language language) {
  /** The score of the original, which is known without a run. */
  public static final Score UNCHANGED = new Score(List.of(1.0));

  /**
   * The quality of next-token predictions on the calibration tokens.
   *
   * @param nll mean negative log-likelihood of the next token, nats
   * @param kl mean of {@code KL(original || pruned)} of the predicted distributions, nats; null if
   *     it was not measured, since it takes two more products with the head
   */
  public record Language(double nll, @Nullable Double kl) {}

  /** A score of both values. */
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
