package dev.laco.backend.reference;

import dev.laco.backend.DeltaSpec;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;

/** One token after the other of the gated delta rule, and its derivatives as they are defined. */
final class ReferenceDelta {
  private final MemoryTensor heads;
  private final MemoryTensor decay;
  private final MemoryTensor rate;
  private final MemoryTensor logDecay;
  private final MemoryTensor decayBias;
  private final DeltaSpec spec;

  ReferenceDelta(
      Tensor heads, Tensor decay, Tensor rate, Tensor logDecay, Tensor decayBias, DeltaSpec spec) {
    this.heads = MemoryTensor.of(heads);
    this.decay = MemoryTensor.of(decay);
    this.rate = MemoryTensor.of(rate);
    this.logDecay = MemoryTensor.of(logDecay);
    this.decayBias = MemoryTensor.of(decayBias);
    this.spec = spec;
  }

  /**
   * What a token gives.
   *
   * @param decayed the state times the share that is kept
   */
  record Step(double[] output, double[] error, double[][] decayed) {}

  /** Takes token {@code t} into the state of head {@code h}. */
  Step step(int t, int h, double[][] state) {
    double[] query = unit(t, queryColumn(h));
    double[] key = unit(t, keyColumn(h));
    double kept = Math.exp(logShare(t, h));
    double[] error = new double[spec.value()];
    double[][] decayed = new double[spec.key()][];
    for (int i = 0; i < spec.key(); i++) {
      for (int j = 0; j < spec.value(); j++) {
        state[i][j] *= kept;
      }
      decayed[i] = state[i].clone();
    }
    double[] output = new double[spec.value()];
    for (int j = 0; j < spec.value(); j++) {
      error[j] = heads.get(t * spec.all() + valueColumn(h) + j);
      for (int i = 0; i < spec.key(); i++) {
        error[j] -= state[i][j] * key[i];
      }
      for (int i = 0; i < spec.key(); i++) {
        state[i][j] += rate(t, h) * key[i] * error[j];
        output[j] += state[i][j] * query[i] / Math.sqrt(spec.key());
      }
    }
    return new Step(output, error, decayed);
  }

  /** Writes the values of head {@code h} to row {@code t}. */
  void set(Tensor out, int t, int h, double[] values) {
    for (int j = 0; j < spec.value(); j++) {
      MemoryTensor.of(out).set(t * spec.values() + (long) h * spec.value() + j, values[j]);
    }
  }

  /**
   * Where gradients of one sequence are added up.
   *
   * @param heads {@code [tokens][all]}
   * @param decay {@code [tokens][valueHeads]}, likewise the others
   */
  record Sums(double[][] heads, double[][] decay, double[][] rate, double[][] logDecay) {}

  /** Adds the gradients of head {@code h} over the tokens from {@code first} on. */
  void addGradients(int first, int h, MemoryTensor gradient, Sums sums) {
    int tokens = sums.heads.length;
    double[][] state = new double[spec.key()][spec.value()];
    double[][][] behind = new double[tokens][][];
    Step[] steps = new Step[tokens];
    for (int t = 0; t < tokens; t++) {
      steps[t] = step(first + t, h, state);
      behind[t] = new double[spec.key()][];
      for (int i = 0; i < spec.key(); i++) {
        behind[t][i] = state[i].clone();
      }
    }
    double[][] byState = new double[spec.key()][spec.value()];
    for (int t = tokens - 1; t >= 0; t--) {
      double[] query = unit(first + t, queryColumn(h));
      double[] key = unit(first + t, keyColumn(h));
      double[] byQuery = new double[spec.key()];
      double[] byKey = new double[spec.key()];
      double b = rate(first + t, h);
      double byRate = 0;
      double byShare = 0;
      for (int j = 0; j < spec.value(); j++) {
        double byOutput = gradient.get((first + t) * spec.values() + (long) h * spec.value() + j);
        double byWritten = 0;
        for (int i = 0; i < spec.key(); i++) {
          byQuery[i] += behind[t][i][j] * byOutput / Math.sqrt(spec.key());
          byState[i][j] += query[i] / Math.sqrt(spec.key()) * byOutput;
          byWritten += byState[i][j] * key[i];
        }
        double error = steps[t].error[j];
        byRate += byWritten * error;
        sums.heads[t][valueColumn(h) + j] += b * byWritten;
        for (int i = 0; i < spec.key(); i++) {
          byKey[i] += b * (byState[i][j] * error - steps[t].decayed[i][j] * byWritten);
          byState[i][j] -= key[i] * b * byWritten;
          byShare += byState[i][j] * steps[t].decayed[i][j];
          byState[i][j] *= Math.exp(logShare(first + t, h));
        }
      }
      addThroughUnit(first, t, queryColumn(h), byQuery, sums);
      addThroughUnit(first, t, keyColumn(h), byKey, sums);
      double input = input(first + t, h);
      double slope = -Math.exp(logDecay.get(h)) / (1 + Math.exp(-input));
      sums.decay[t][h] += byShare * slope;
      sums.logDecay[t][h] += byShare * logShare(first + t, h);
      sums.rate[t][h] += byRate * b * (1 - b);
    }
  }

  /** Adds the gradient by a query or key before it was divided by its length. */
  private void addThroughUnit(int first, int t, int column, double[] byUnit, Sums sums) {
    double[] unit = unit(first + t, column);
    double product = 0;
    for (int i = 0; i < unit.length; i++) {
      product += unit[i] * byUnit[i];
    }
    for (int i = 0; i < unit.length; i++) {
      sums.heads[t][column + i] += (byUnit[i] - unit[i] * product) / length(first + t, column);
    }
  }

  private int queryColumn(int h) {
    return h / spec.group() * spec.key();
  }

  private int keyColumn(int h) {
    return Math.toIntExact(spec.keys()) + queryColumn(h);
  }

  private int valueColumn(int h) {
    return Math.toIntExact(2 * spec.keys()) + h * spec.value();
  }

  private double[] unit(int t, int column) {
    double[] values = new double[spec.key()];
    double length = length(t, column);
    for (int i = 0; i < values.length; i++) {
      values[i] = heads.get(t * spec.all() + column + i) / length;
    }
    return values;
  }

  private double length(int t, int column) {
    double sum = DeltaSpec.EPS;
    for (int i = 0; i < spec.key(); i++) {
      double value = heads.get(t * spec.all() + column + i);
      sum += value * value;
    }
    return Math.sqrt(sum);
  }

  private double input(int t, int h) {
    return (double) decay.get((long) t * spec.valueHeads() + h) + decayBias.get(h);
  }

  /** The logarithm of the share of the state that is kept. */
  private double logShare(int t, int h) {
    double x = input(t, h);
    double softplus = Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
    return -Math.exp(logDecay.get(h)) * softplus;
  }

  private double rate(int t, int h) {
    return 1 / (1 + Math.exp(-rate.get((long) t * spec.valueHeads() + h)));
  }
}
