package dev.laco.report;

import java.util.Collection;
import java.util.Collections;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * A measurement of a model in training, on held-out text.
 *
 * @param step the number of steps taken before it
 * @param tokens on which was trained before it
 * @param divergence of the original from the trained model, nats a token
 * @param nll of the trained model, nats a token
 * @param domains the same of each kind of text
 */
public record TrainingMeasurement(
    int step, long tokens, double divergence, double nll, SortedMap<String, Distance> domains) {
  public TrainingMeasurement {
    domains = Collections.unmodifiableSortedMap(new TreeMap<>(domains));
  }

  /**
   * How far a model is from the original on a text.
   *
   * @param tokens of the text
   * @param predicted tokens that have another one in front
   * @param divergence of the original from the model, nats a token
   * @param nll of the model, nats a predicted token
   */
  public record Distance(long tokens, long predicted, double divergence, double nll) {
    /** The distance on several texts together. */
    public static Distance of(Collection<Distance> parts) {
      double divergence = 0;
      double nll = 0;
      long tokens = 0;
      long predicted = 0;
      for (Distance part : parts) {
        divergence += part.divergence * part.tokens;
        nll += part.nll * part.predicted;
        tokens += part.tokens;
        predicted += part.predicted;
      }
      return new Distance(tokens, predicted, divergence / tokens, nll / Math.max(1, predicted));
    }
  }

  /**
   * A measurement.
   *
   * @param domains of each kind of text
   */
  public static TrainingMeasurement of(int step, long tokens, SortedMap<String, Distance> domains) {
    Distance all = Distance.of(domains.values());
    return new TrainingMeasurement(step, tokens, all.divergence, all.nll, domains);
  }
}
