package dev.laco.collapse;

import java.util.List;

/**
 * Similarity of a plan to the original: the cosine of the last hidden states after the final norm,
 * flattened, for each calibration sentence.
 *
 * @param similarities one per sentence
 */
public record Score(List<Double> similarities) {
  public Score {
    similarities = List.copyOf(similarities);
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
