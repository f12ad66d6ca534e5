package dev.laco.collapse;

import dev.laco.UsageException;
import dev.laco.model.TensorGroup;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.IntFunction;
import java.util.stream.Collectors;

/**
 * How a merged layer is made from its base and {@code m} followers: a coefficient for each of them.
 * The rules are linear, so that merging merged layers composes (docs/method.md).
 *
 * @param optionValue the value of {@code --rule}
 * @param summary what it does, in a few words for people
 * @param defaultNorms what this rule does with norms unless the user says otherwise
 * @param weights coefficients of the base and of each follower, {@code m + 1} of them, by {@code m}
 */
public record MergeRule(
    String optionValue, String summary, NormsPolicy defaultNorms, IntFunction<double[]> weights) {

  /** What the paper's published code does: the last follower's matrices in place of the base's. */
  public static final MergeRule REPLACE =
      new MergeRule(
          "replace",
          "the last follower in place of the base (the published code)",
          NormsPolicy.BASE,
          followers -> one(followers, followers));

  /** The base alone: the followers are removed. */
  public static final MergeRule DROP =
      new MergeRule(
          "drop",
          "the base alone: the followers are removed",
          NormsPolicy.BASE,
          followers -> one(followers, 0));

  /** The mean of the base and all followers. */
  public static final MergeRule MEAN =
      new MergeRule(
          "mean",
          "the mean of the base and its followers",
          NormsPolicy.MERGE,
          followers -> all(followers, 1.0 / (followers + 1)));

  /** The value of {@code --rule} that leaves the choice to the search. */
  public static final String AUTO = "auto";

  private static final String RDSC = "rdsc";

  /** Beyond this no model survives, and merges of merges could overflow. */
  private static final double MOST_LAMBDA = 10;

  /**
   * Reserving-differences-while-seeking-common, Eq. 1 of arXiv 2402.11187: {@code theta_l + lambda
   * sum_k (theta_{l+k} - theta_l)}; lambda 1 is the paper's.
   */
  public static MergeRule rdsc(double lambda) {
    return new MergeRule(
        lambda == 1 ? RDSC : RDSC + ":" + lambda,
        "Eq. 1 of the paper; rdsc:LAMBDA scales the differences",
        NormsPolicy.MERGE,
        followers -> {
          double[] weights = all(followers, lambda);
          weights[0] = 1 - lambda * followers;
          return weights;
        });
  }

  private static double[] one(int followers, int index) {
    double[] weights = new double[followers + 1];
    weights[index] = 1;
    return weights;
  }

  private static double[] all(int followers, double weight) {
    double[] weights = new double[followers + 1];
    Arrays.fill(weights, weight);
    return weights;
  }

  /**
   * The rules among which {@link #AUTO} chooses, in the order that decides ties. They copy layers;
   * what mixes them costs more and hardly ever won (docs/method.md).
   */
  public static List<MergeRule> auto() {
    return List.of(DROP, REPLACE);
  }

  /** Every rule; {@code rdsc} with the paper's factor. */
  public static List<MergeRule> all() {
    return List.of(REPLACE, rdsc(1), MEAN, DROP);
  }

  /**
   * Reads a value of {@code --rule}, all but {@link #AUTO}.
   *
   * @throws UsageException if it is none
   */
  public static MergeRule parse(String text) {
    return all().stream()
        .filter(rule -> rule.optionValue().equals(text))
        .findFirst()
        .orElseGet(() -> rdsc(lambda(text)));
  }

  private static double lambda(String text) {
    if (text.startsWith(RDSC + ":")) {
      try {
        double lambda = Double.parseDouble(text.substring(RDSC.length() + 1));
        if (Math.abs(lambda) <= MOST_LAMBDA) {
          return lambda;
        }
      } catch (NumberFormatException e) {
        // The error below names every rule.
      }
    }
    throw new UsageException(
        "--rule "
            + text
            + ": expected "
            + all().stream().map(MergeRule::optionValue).collect(Collectors.joining(", "))
            + " or rdsc:LAMBDA (-10 to 10)");
  }

  /** Coefficients of the base and of each of so many followers. */
  public double[] coefficients(int followers) {
    return weights.apply(followers);
  }

  /** How many layers of a base and its followers leave something of themselves. */
  public int mergedAtOnce(int followers) {
    return (int) Arrays.stream(coefficients(followers)).filter(c -> c != 0).count();
  }

  /** Folds a run of layers, base first, into one. */
  public LayerMix merge(List<LayerMix> run, NormsPolicy norms) {
    double[] coefficients = coefficients(run.size() - 1);
    LayerMix base = run.getFirst();
    return new LayerMix(
        base.base(),
        combine(run, TensorGroup.ATTENTION, coefficients),
        combine(run, TensorGroup.FEED_FORWARD, coefficients),
        norms == NormsPolicy.BASE ? base.norms() : combine(run, TensorGroup.NORMS, coefficients));
  }

  private static Coefficients combine(
      List<LayerMix> run, TensorGroup group, double[] coefficients) {
    SortedMap<Integer, Double> sum = new TreeMap<>();
    for (int i = 0; i < coefficients.length; i++) {
      double coefficient = coefficients[i];
      if (coefficient != 0) {
        run.get(i)
            .of(group)
            .terms()
            .forEach((layer, c) -> sum.merge(layer, coefficient * c, Double::sum));
      }
    }
    return new Coefficients(sum);
  }
}
