package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.model.TensorGroup;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * A rule that merges a run of layers, a base and {@code m} followers, into one: it gives each layer
 * a coefficient. Because rules are linear, a merge of merged layers is again a linear combination
 * of original layers (docs/method.md).
 *
 * @param kind which rule
 * @param lambda factor on the differences of {@link Kind#RDSC}, -10 to 10; 1 for all others
 */
public record MergeRule(Kind kind, double lambda) {
  /** The rules. */
  public enum Kind {
    /** The published code's: the last follower's matrices in place of the base's. */
    REPLACE(NormsPolicy.BASE),
    /** The base alone: the followers are removed. */
    DROP(NormsPolicy.BASE),
    /** The mean of the base and all followers. */
    MEAN(NormsPolicy.MERGE),
    /**
     * Reserving-differences-while-seeking-common, Eq. 1 of arXiv 2402.11187: {@code theta_l +
     * lambda sum_k (theta_{l+k} - theta_l)}; lambda 1 is the paper's.
     */
    RDSC(NormsPolicy.MERGE);

    private final NormsPolicy norms;

    Kind(NormsPolicy norms) {
      this.norms = norms;
    }

    private String label() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** {@link Kind#REPLACE}. */
  public static final MergeRule REPLACE = new MergeRule(Kind.REPLACE, 1);

  /** {@link Kind#DROP}. */
  public static final MergeRule DROP = new MergeRule(Kind.DROP, 1);

  /** {@link Kind#MEAN}. */
  public static final MergeRule MEAN = new MergeRule(Kind.MEAN, 1);

  /** The name that leaves the choice among {@link #auto} to the search. */
  public static final String AUTO = "auto";

  /** With larger factors models are useless, and merges of merges could overflow. */
  private static final double MOST_LAMBDA = 10;

  private static final String FACTOR = Kind.RDSC.label() + ":";

  /**
   * A rule of both values.
   *
   * @throws IllegalArgumentException if the factor is out of range
   */
  public MergeRule {
    if (kind == Kind.RDSC ? !(Math.abs(lambda) <= MOST_LAMBDA) : lambda != 1) {
      throw new IllegalArgumentException(kind + " with lambda " + lambda);
    }
  }

  /** {@link Kind#RDSC} with a factor. */
  public static MergeRule rdsc(double lambda) {
    return new MergeRule(Kind.RDSC, lambda);
  }

  /** The rule's name, as {@link #parse} reads it: {@code replace}, {@code rdsc:0.5}. */
  public String label() {
    return lambda == 1 ? kind.label() : FACTOR + lambda;
  }

  /** What this rule does with norms unless the user says otherwise. */
  public NormsPolicy defaultNorms() {
    return kind.norms;
  }

  /** Coefficients of the base and of each follower, {@code followers + 1} in all. */
  public double[] coefficients(int followers) {
    double[] weights = new double[followers + 1];
    switch (kind) {
      case REPLACE -> weights[followers] = 1;
      case DROP -> weights[0] = 1;
      case MEAN -> Arrays.fill(weights, 1.0 / (followers + 1));
      case RDSC -> {
        Arrays.fill(weights, lambda);
        weights[0] = 1 - lambda * followers;
      }
    }
    return weights;
  }

  /**
   * The rules that {@link #AUTO} chooses from, in the order that decides ties. Both copy layers;
   * rules that mix layers take longer and were hardly ever better (docs/method.md).
   */
  public static List<MergeRule> auto() {
    return List.of(DROP, REPLACE);
  }

  /** Every rule; {@code rdsc} with the paper's factor. */
  public static List<MergeRule> all() {
    return List.of(REPLACE, rdsc(1), MEAN, DROP);
  }

  /**
   * Reads a {@link #label}.
   *
   * @throws UsageException if the text is not the label of a rule
   */
  public static MergeRule parse(String text) {
    return all().stream()
        .filter(rule -> rule.label().equals(text))
        .findFirst()
        .orElseGet(() -> rdsc(lambda(text)));
  }

  /** The values of the setting {@code rule} that name a rule of merging, for people. */
  public static String labels() {
    return all().stream().map(MergeRule::label).collect(Collectors.joining(", "))
        + " or rdsc:LAMBDA (-10 to 10)";
  }

  private static double lambda(String text) {
    if (text.startsWith(FACTOR)) {
      try {
        double lambda = Double.parseDouble(text.substring(FACTOR.length()));
        if (Math.abs(lambda) <= MOST_LAMBDA) {
          return lambda;
        }
      } catch (NumberFormatException e) {
        // The error below names every rule.
      }
    }
    throw Setting.of("rule").refuse(text, labels());
  }

  /** The number of layers, of a base and its followers, whose coefficient is not 0. */
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
