package dev.laco.collapse;

import dev.laco.UsageException;
import dev.laco.model.TensorGroup;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * How a merged layer is made from a run of layers, its base and {@code m} followers: a coefficient
 * for each of them. The rules are linear, so that merging merged layers composes (docs/method.md).
 */
public sealed interface MergeRule {
  /** What the paper's published code does: the last follower's matrices in place of the base's. */
  record Replace() implements MergeRule {
    @Override
    public String label() {
      return "replace";
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.BASE;
    }

    @Override
    public double[] coefficients(int followers) {
      return one(followers, followers);
    }
  }

  /** The base alone: the followers are removed. */
  record Drop() implements MergeRule {
    @Override
    public String label() {
      return "drop";
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.BASE;
    }

    @Override
    public double[] coefficients(int followers) {
      return one(followers, 0);
    }
  }

  /** The mean of the base and all followers. */
  record Mean() implements MergeRule {
    @Override
    public String label() {
      return "mean";
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.MERGE;
    }

    @Override
    public double[] coefficients(int followers) {
      return all(followers, 1.0 / (followers + 1));
    }
  }

  /**
   * Reserving-differences-while-seeking-common, Eq. 1 of arXiv 2402.11187: {@code theta_l + lambda
   * sum_k (theta_{l+k} - theta_l)}.
   *
   * @param lambda factor on the differences, -10 to 10; 1 is the paper's
   */
  record Rdsc(double lambda) implements MergeRule {
    /** Beyond this no model survives, and merges of merges could overflow. */
    private static final double MOST_LAMBDA = 10;

    private static final String LABEL = "rdsc";

    public Rdsc {
      if (!inRange(lambda)) {
        throw new IllegalArgumentException("lambda " + lambda + ": expected -10 to 10");
      }
    }

    static boolean inRange(double lambda) {
      return Math.abs(lambda) <= MOST_LAMBDA;
    }

    @Override
    public String label() {
      return lambda == 1 ? LABEL : LABEL + ":" + lambda;
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.MERGE;
    }

    @Override
    public double[] coefficients(int followers) {
      double[] weights = all(followers, lambda);
      weights[0] = 1 - lambda * followers;
      return weights;
    }
  }

  /** {@link Replace}. */
  MergeRule REPLACE = new Replace();

  /** {@link Drop}. */
  MergeRule DROP = new Drop();

  /** {@link Mean}. */
  MergeRule MEAN = new Mean();

  /** The name that leaves the choice among {@link #auto} to the search. */
  String AUTO = "auto";

  /** {@link Rdsc}. */
  static MergeRule rdsc(double lambda) {
    return new Rdsc(lambda);
  }

  /** The rule's name, as {@link #parse} reads it: {@code replace}, {@code rdsc:0.5}. */
  String label();

  /** What this rule does with norms unless the user says otherwise. */
  NormsPolicy defaultNorms();

  /** Coefficients of the base and of each of so many followers, {@code followers + 1} of them. */
  double[] coefficients(int followers);

  /**
   * The rules among which {@link #AUTO} chooses, in the order that decides ties. They copy layers;
   * what mixes them costs more and hardly ever won (docs/method.md).
   */
  static List<MergeRule> auto() {
    return List.of(DROP, REPLACE);
  }

  /** Every rule; {@code rdsc} with the paper's factor. */
  static List<MergeRule> all() {
    return List.of(REPLACE, rdsc(1), MEAN, DROP);
  }

  /**
   * Reads a {@link #label}.
   *
   * @throws UsageException if it is none
   */
  static MergeRule parse(String text) {
    return all().stream()
        .filter(rule -> rule.label().equals(text))
        .findFirst()
        .orElseGet(() -> rdsc(lambda(text)));
  }

  private static double lambda(String text) {
    if (text.startsWith(Rdsc.LABEL + ":")) {
      try {
        double lambda = Double.parseDouble(text.substring(Rdsc.LABEL.length() + 1));
        if (Rdsc.inRange(lambda)) {
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
            + all().stream().map(MergeRule::label).collect(Collectors.joining(", "))
            + " or rdsc:LAMBDA (-10 to 10)");
  }

  /** How many layers of a base and its followers leave something of themselves. */
  default int mergedAtOnce(int followers) {
    return (int) Arrays.stream(coefficients(followers)).filter(c -> c != 0).count();
  }

  /** Folds a run of layers, base first, into one. */
  default LayerMix merge(List<LayerMix> run, NormsPolicy norms) {
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
}
