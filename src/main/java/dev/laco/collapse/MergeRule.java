package dev.laco.collapse;

import dev.laco.UsageException;
import dev.laco.model.TensorGroup;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * How a merged layer is made from its base and {@code m} followers: a coefficient for each of them.
 * The rules are linear, so that merging merged layers composes (docs/method.md).
 */
public sealed interface MergeRule {

  /** Coefficients of the base and of each follower, {@code m + 1} of them. */
  double[] coefficients(int followers);

  /** What this rule does with norms unless the user says otherwise. */
  NormsPolicy defaultNorms();

  /** The value of {@code --rule}. */
  String optionValue();

  /**
   * Reserving-differences-while-seeking-common, Eq. 1 of arXiv 2402.11187: {@code theta_l + lambda
   * sum_k (theta_{l+k} - theta_l)}; lambda 1 is the paper's.
   */
  record Rdsc(double lambda) implements MergeRule {
    @Override
    public double[] coefficients(int followers) {
      double[] result = new double[followers + 1];
      java.util.Arrays.fill(result, lambda);
      result[0] = 1 - lambda * followers;
      return result;
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.MERGE;
    }

    @Override
    public String optionValue() {
      return lambda == 1 ? "rdsc" : "rdsc:" + lambda;
    }
  }

  /** What the paper's published code does: the last follower's matrices in place of the base's. */
  record Replace() implements MergeRule {
    @Override
    public double[] coefficients(int followers) {
      double[] result = new double[followers + 1];
      result[followers] = 1;
      return result;
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.BASE;
    }

    @Override
    public String optionValue() {
      return "replace";
    }
  }

  /** The mean of the base and all followers. */
  record Mean() implements MergeRule {
    @Override
    public double[] coefficients(int followers) {
      double[] result = new double[followers + 1];
      java.util.Arrays.fill(result, 1.0 / (followers + 1));
      return result;
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.MERGE;
    }

    @Override
    public String optionValue() {
      return "mean";
    }
  }

  /** The base alone: the followers are removed. */
  record Drop() implements MergeRule {
    @Override
    public double[] coefficients(int followers) {
      double[] result = new double[followers + 1];
      result[0] = 1;
      return result;
    }

    @Override
    public NormsPolicy defaultNorms() {
      return NormsPolicy.BASE;
    }

    @Override
    public String optionValue() {
      return "drop";
    }
  }

  /**
   * Reads a value of {@code --rule}.
   *
   * @throws UsageException if it is none
   */
  static MergeRule parse(String text) {
    return switch (text) {
      case "rdsc" -> new Rdsc(1);
      case "replace" -> new Replace();
      case "mean" -> new Mean();
      case "drop" -> new Drop();
      default -> {
        if (text.startsWith("rdsc:")) {
          try {
            double lambda = Double.parseDouble(text.substring("rdsc:".length()));
            if (Double.isFinite(lambda)) {
              yield new Rdsc(lambda);
            }
          } catch (NumberFormatException e) {
            // falls through to the error below, which names every rule
          }
        }
        throw new UsageException(
            "--rule "
                + text
                + ": expected rdsc, rdsc:LAMBDA (a finite number), replace, mean or drop");
      }
    };
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
}
