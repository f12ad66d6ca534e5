package dev.laco.backend.reference;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.EightBitMoments;
import dev.laco.backend.Head;
import dev.laco.backend.MemoryBatch;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.MemoryTraining;
import dev.laco.backend.OpChecks;
import dev.laco.backend.StochasticRounding;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The ops of training in plain Java, as {@link ReferenceBackend} has the others. */
final class ReferenceTraining implements MemoryTraining {
  @Override
  public long scratchBytes(long tokens, long vocabulary) {
    return 0;
  }

  @Override
  public DType gradientType(Tensor weight) {
    return DType.F32;
  }

  @Override
  public void linearGradient(Tensor gradient, Tensor weight, boolean add, Tensor out) {
    OpChecks.linearGradient(gradient, weight, gradientType(weight), out);
    MemoryTensor from = MemoryTensor.of(gradient);
    MemoryTensor matrix = MemoryTensor.of(weight);
    MemoryTensor to = MemoryTensor.of(out);
    for (long r = 0; r < out.rows(); r++) {
      double[] sums = new double[Math.toIntExact(out.columns())];
      for (long o = 0; o < weight.rows(); o++) {
        double factor = from.get(r * weight.rows() + o);
        for (int i = 0; i < sums.length; i++) {
          sums[i] += factor * matrix.get(o * sums.length + i);
        }
      }
      for (int i = 0; i < sums.length; i++) {
        long at = r * sums.length + i;
        to.set(at, (add ? to.get(at) : 0) + sums[i]);
      }
    }
  }

  @Override
  public void addColumns(Tensor x, Tensor out) {
    OpChecks.addColumns(x, out);
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor to = MemoryTensor.of(out);
    for (long column = 0; column < x.columns(); column++) {
      double sum = to.get(column);
      for (long i = column; i < x.elements(); i += x.columns()) {
        sum += from.get(i);
      }
      to.set(column, sum);
    }
  }

  @Override
  public void rmsNormGradient(
      Tensor x, Tensor weight, NormSpec norm, Tensor gradient, Tensor weightGradient, Tensor out) {
    OpChecks.rmsNormGradient(x, weight, gradient, weightGradient, out);
    normGradient(x, weight, norm, false, gradient, weightGradient, null, out);
  }

  @Override
  public void layerNormGradient(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      Tensor gradient,
      Tensor weightGradient,
      @Nullable Tensor biasGradient,
      Tensor out) {
    OpChecks.layerNormGradient(x, weight, gradient, weightGradient, biasGradient, out);
    normGradient(x, weight, norm, true, gradient, weightGradient, biasGradient, out);
  }

  /** The gradients of both norms: an RMS norm is a layer norm that leaves the mean in its place. */
  private static void normGradient(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      boolean centred,
      Tensor gradient,
      Tensor weightGradient,
      @Nullable Tensor biasGradient,
      Tensor out) {
    int width = Math.toIntExact(x.columns());
    double[] weightSums = values(weightGradient);
    double[] biasSums = biasGradient == null ? new double[weightSums.length] : values(biasGradient);
    MemoryTensor factors = MemoryTensor.of(weight);
    for (long r = 0; r < x.rows(); r++) {
      double[] row = values(x.slice(r, r + 1));
      double[] from = values(gradient.slice(r, r + 1));
      int first = Math.toIntExact(r % weight.rows()) * width;
      double mean = centred ? Arrays.stream(row).sum() / width : 0;
      double variance = 0;
      for (double value : row) {
        variance += (value - mean) * (value - mean) / width;
      }
      double deviation = Math.sqrt(variance + norm.eps());
      double[] scaled = new double[width];
      double sum = 0;
      double product = 0;
      for (int i = 0; i < width; i++) {
        row[i] = (row[i] - mean) / deviation;
        scaled[i] = from[i] * (norm.offset() + factors.get(first + i));
        sum += scaled[i];
        product += scaled[i] * row[i];
        weightSums[first + i] += from[i] * row[i];
        biasSums[first + i] += from[i];
      }
      MemoryTensor to = MemoryTensor.of(out.slice(r, r + 1));
      for (int i = 0; i < width; i++) {
        double centre = centred ? sum / width : 0;
        to.set(i, (scaled[i] - centre - row[i] * product / width) / deviation);
      }
    }
    set(weightGradient, weightSums);
    if (biasGradient != null) {
      set(biasGradient, biasSums);
    }
  }

  @Override
  public void ropeGradient(
      Tensor gradient, RotaryPairs layout, int headDim, int table, TokenBatch batch) {
    OpChecks.rope(gradient, headDim, table, batch, gradient);
    ReferenceBackend.rotate(gradient, layout, headDim, table, batch, -1, gradient);
  }

  @Override
  public void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums) {
    OpChecks.attention(
        query, key, value, sinks, spec, batch, MemoryBatch.of(batch).keys(), out, logSums);
    MemoryTensor to = MemoryTensor.of(out);
    MemoryTensor sums = MemoryTensor.of(logSums);
    new Scores(query, key, spec, batch)
        .forEachQuery(
            (t, h, first, scores) -> {
              double[] all = Arrays.copyOf(scores, scores.length + 1);
              all[scores.length] = ReferenceBackend.sink(sinks, h);
              double logSum = ReferenceBackend.logSumOfExponentials(all);
              sums.set(t * spec.numHeads() + h, logSum);
              for (int c = 0; c < spec.headDim(); c++) {
                double sum = 0;
                for (int j = 0; j < scores.length; j++) {
                  sum +=
                      Math.exp(scores[j] - logSum) * at(value, first + j, h / group(spec), c, spec);
                }
                to.set(t * query.columns() + (long) h * spec.headDim() + c, sum);
              }
            });
  }

  @Override
  public void attentionGradient(
      Tensor query,
      Tensor key,
      Tensor value,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums,
      Tensor gradient,
      Tensor queryGradient,
      Tensor keyGradient,
      Tensor valueGradient) {
    OpChecks.attentionGradient(
        query,
        key,
        value,
        spec,
        batch,
        MemoryBatch.of(batch).keys(),
        out,
        logSums,
        gradient,
        queryGradient,
        keyGradient,
        valueGradient);
    int width = spec.headDim();
    MemoryTensor sums = MemoryTensor.of(logSums);
    double[] queries = new double[Math.toIntExact(query.elements())];
    double[] keys = new double[Math.toIntExact(key.elements())];
    double[] values = new double[keys.length];
    new Scores(query, key, spec, batch)
        .forEachQuery(
            (t, h, first, scores) -> {
              int head = h / group(spec);
              double logSum = sums.get(t * spec.numHeads() + h);
              // What the softmax weights' gradients lose to each other: gradient . out.
              double common = 0;
              for (int c = 0; c < width; c++) {
                common += at(gradient, t, h, c, spec) * at(out, t, h, c, spec);
              }
              for (int j = 0; j < scores.length; j++) {
                double weight = Math.exp(scores[j] - logSum);
                double byWeight = 0;
                for (int c = 0; c < width; c++) {
                  byWeight += at(gradient, t, h, c, spec) * at(value, first + j, head, c, spec);
                }
                double distance = spec.alibi() ? spec.slopes()[h] * (scores.length - 1 - j) : 0;
                double byProduct =
                    weight * (byWeight - common) * slope(spec.scores(), scores[j] + distance);
                long keyAt = (first + j) * key.columns() + (long) head * width;
                long queryAt = t * query.columns() + (long) h * width;
                for (int c = 0; c < width; c++) {
                  values[Math.toIntExact(keyAt) + c] += weight * at(gradient, t, h, c, spec);
                  queries[Math.toIntExact(queryAt) + c] +=
                      byProduct * at(key, first + j, head, c, spec);
                  keys[Math.toIntExact(keyAt) + c] += byProduct * at(query, t, h, c, spec);
                }
              }
            });
    set(queryGradient, queries);
    set(keyGradient, keys);
    set(valueGradient, values);
  }

  private static int group(AttentionSpec spec) {
    return spec.numHeads() / spec.numKeyValueHeads();
  }

  /** Element {@code c} of a head of queries, keys or values. */
  private static double at(Tensor heads, long row, int head, int c, AttentionSpec spec) {
    return MemoryTensor.of(heads).get(row * heads.columns() + (long) head * spec.headDim() + c);
  }

  /** The scores of the keys that queries of whole sequences see. */
  private record Scores(Tensor query, Tensor key, AttentionSpec spec, TokenBatch batch) {
    /** Takes what one query sees. */
    interface Query {
      /**
       * Takes one query.
       *
       * @param row of the query
       * @param head of the query
       * @param first row of the first key that the query sees
       * @param scores of this key and those behind it
       */
      void take(long row, int head, long first, double[] scores);
    }

    void forEachQuery(Query action) {
      float[] slopes = spec.slopes();
      PackedSequences sequences = batch.sequences();
      for (int s = 0; s < sequences.sequences(); s++) {
        for (int i = 0; i < sequences.length(s); i++) {
          int first = spec.slidingWindow() == 0 ? 0 : Math.max(0, i - spec.slidingWindow() + 1);
          long start = sequences.offsets()[s];
          for (int h = 0; h < spec.numHeads(); h++) {
            double[] scores = new double[i - first + 1];
            for (int j = first; j <= i; j++) {
              double product = 0;
              for (int c = 0; c < spec.headDim(); c++) {
                product +=
                    at(query, start + i, h, c, spec) * at(key, start + j, h / group(spec), c, spec);
              }
              scores[j - first] =
                  spec.scores().apply(product) - (spec.alibi() ? slopes[h] * (i - j) : 0);
            }
            action.take(start + i, h, start + first, scores);
          }
        }
      }
    }
  }

  /** The derivative of {@link LogitSpec#apply}, of which {@code y} is the result. */
  private static double slope(LogitSpec spec, double y) {
    double share = spec.softCap() == 0 ? 0 : y / spec.softCap();
    return spec.scale() * (1 - share * share);
  }

  @Override
  public void causalConvolutionGradient(
      Tensor x,
      Tensor weight,
      TokenBatch batch,
      Tensor gradient,
      @Nullable Tensor weightGradient,
      Tensor out) {
    OpChecks.causalConvolutionGradient(x, weight, batch, gradient, weightGradient, out);
    PackedSequences sequences = batch.sequences();
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor factors = MemoryTensor.of(weight);
    MemoryTensor by = MemoryTensor.of(gradient);
    MemoryTensor to = MemoryTensor.of(out);
    double[] sums = weightGradient == null ? new double[0] : values(weightGradient);
    int width = Math.toIntExact(weight.columns());
    for (int s = 0; s < sequences.sequences(); s++) {
      for (int t = sequences.offsets()[s]; t < sequences.offsets()[s + 1]; t++) {
        for (int c = 0; c < x.columns(); c++) {
          double sum = 0;
          for (int i = 0; i < width; i++) {
            int output = t + width - 1 - i;
            if (output < sequences.offsets()[s + 1]) {
              double product = by.get(output * x.columns() + c);
              sum += factors.get((long) c * width + i) * product;
              if (weightGradient != null) {
                sums[c * width + i] += from.get(t * x.columns() + c) * product;
              }
            }
          }
          to.set(t * x.columns() + c, sum);
        }
      }
    }
    if (weightGradient != null) {
      set(weightGradient, sums);
    }
  }

  @Override
  public void gatedDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor errors) {
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, out);
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, errors);
    PackedSequences sequences = batch.sequences();
    ReferenceDelta delta = new ReferenceDelta(heads, decay, rate, logDecay, decayBias, spec);
    for (int s = 0; s < sequences.sequences(); s++) {
      for (int h = 0; h < spec.valueHeads(); h++) {
        double[][] state = new double[spec.key()][spec.value()];
        for (int t = sequences.offsets()[s]; t < sequences.offsets()[s + 1]; t++) {
          ReferenceDelta.Step step = delta.step(t, h, state);
          delta.set(out, t, h, step.output());
          delta.set(errors, t, h, step.error());
        }
      }
    }
  }

  @Override
  public void gatedDeltaGradient(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      Tensor errors,
      Tensor gradient,
      Tensor headsGradient,
      Tensor decayGradient,
      Tensor rateGradient,
      Tensor logDecayGradient) {
    OpChecks.gatedDeltaGradient(
        heads,
        decay,
        rate,
        logDecay,
        decayBias,
        spec,
        batch,
        errors,
        gradient,
        headsGradient,
        decayGradient,
        rateGradient,
        logDecayGradient);
    PackedSequences sequences = batch.sequences();
    ReferenceDelta delta = new ReferenceDelta(heads, decay, rate, logDecay, decayBias, spec);
    for (int s = 0; s < sequences.sequences(); s++) {
      int first = sequences.offsets()[s];
      int length = sequences.length(s);
      int count = spec.valueHeads();
      ReferenceDelta.Sums sums =
          new ReferenceDelta.Sums(
              new double[length][Math.toIntExact(spec.all())],
              new double[length][count],
              new double[length][count],
              new double[length][count]);
      for (int h = 0; h < count; h++) {
        delta.addGradients(first, h, MemoryTensor.of(gradient), sums);
      }
      for (int t = 0; t < length; t++) {
        set(headsGradient.slice(first + t, first + t + 1), sums.heads()[t]);
        set(decayGradient.slice(first + t, first + t + 1), sums.decay()[t]);
        set(rateGradient.slice(first + t, first + t + 1), sums.rate()[t]);
        set(logDecayGradient.slice(first + t, first + t + 1), sums.logDecay()[t]);
      }
    }
  }

  @Override
  public void gatedGradients(
      Activation activation, Tensor gate, @Nullable Tensor up, Tensor gradient) {
    OpChecks.gatedGradients(gate, up, gradient);
    MemoryTensor gates = MemoryTensor.of(gate);
    MemoryTensor from = MemoryTensor.of(gradient);
    for (long i = 0; i < gate.elements(); i++) {
      double x = gates.get(i);
      double factor = up == null ? 1 : MemoryTensor.of(up).get(i);
      if (up != null) {
        MemoryTensor.of(up).set(i, from.get(i) * ReferenceBackend.activate(activation, x));
      }
      gates.set(i, from.get(i) * factor * ReferenceBackend.slope(activation, x));
    }
  }

  @Override
  public void clampedGateGradients(Tensor gateUp, ClampedGate gate, Tensor gradient) {
    OpChecks.clampedGateGradients(gateUp, gradient);
    MemoryTensor channels = MemoryTensor.of(gateUp);
    MemoryTensor by = MemoryTensor.of(gradient);
    for (long i = 0; i < gradient.elements(); i++) {
      double g = channels.get(2 * i);
      double u = channels.get(2 * i + 1);
      double limited = Math.min(g, gate.limit());
      double v = gate.slope() * Math.max(limited, -1000);
      double factor = Math.min(Math.max(u, -gate.limit()), gate.limit()) + 1;
      double byUp = by.get(i) * limited / (1 + Math.exp(-gate.slope() * limited));
      channels.set(
          2 * i, g > gate.limit() ? 0 : by.get(i) * factor * ReferenceBackend.logisticSlope(v, v));
      channels.set(2 * i + 1, Math.abs(u) > gate.limit() ? 0 : byUp);
    }
  }

  @Override
  public void rowProducts(Tensor a, Tensor b, Tensor out) {
    OpChecks.rowProducts(a, b, out);
    MemoryTensor left = MemoryTensor.of(a);
    MemoryTensor right = MemoryTensor.of(b);
    for (long r = 0; r < a.rows(); r++) {
      double sum = 0;
      for (long i = r * a.columns(); i < (r + 1) * a.columns(); i++) {
        sum += (double) left.get(i) * right.get(i);
      }
      MemoryTensor.of(out).set(r, sum);
    }
  }

  @Override
  public void distillationLoss(
      Tensor hidden,
      Tensor reference,
      Head head,
      TokenBatch batch,
      double labelShare,
      double scale,
      double[] losses,
      Tensor gradient) {
    MemoryBatch sequences = MemoryBatch.of(batch);
    OpChecks.distillationLoss(
        hidden, reference, head, batch, sequences.maxToken(), labelShare, losses, gradient);
    MemoryTensor matrix = MemoryTensor.of(head.weight());
    int width = Math.toIntExact(hidden.columns());
    for (int t = 0; t < losses.length; t++) {
      double[] logits = ReferenceBackend.logits(MemoryTensor.of(hidden).row(t), head);
      double[] expected = ReferenceBackend.logits(MemoryTensor.of(reference).row(t), head);
      double shift = ReferenceBackend.logSumOfExponentials(logits);
      double expectedShift = ReferenceBackend.logSumOfExponentials(expected);
      int target = sequences.targets().getAtIndex(ValueLayout.JAVA_INT, t);
      double labels = target < 0 ? 0 : labelShare;
      losses[t] = labels == 0 ? 0 : labels * (shift - logits[target]);
      double divergence = 0;
      double[] sums = new double[width];
      for (int v = 0; v < logits.length; v++) {
        double wanted = Math.exp(expected[v] - expectedShift);
        double share = Math.exp(logits[v] - shift);
        divergence += wanted * (expected[v] - expectedShift - (logits[v] - shift));
        double difference =
            (1 - labelShare) * (share - wanted) + labels * (share - (v == target ? 1 : 0));
        float[] row = matrix.row(v);
        double length = head.unitRows() ? ReferenceBackend.length(row) : 1;
        double factor = difference * slope(head.spec(), logits[v]) / length;
        for (int i = 0; i < width; i++) {
          sums[i] += factor * row[i];
        }
      }
      losses[t] += (1 - labelShare) * Math.max(0, divergence);
      for (int i = 0; i < width; i++) {
        MemoryTensor.of(gradient).set((long) t * width + i, scale * sums[i]);
      }
    }
  }

  @Override
  public double[] sumsOfSquares(List<Tensor> tensors) {
    OpChecks.sumsOfSquares(tensors);
    return tensors.stream()
        .mapToDouble(x -> Arrays.stream(values(x)).map(value -> value * value).sum())
        .toArray();
  }

  @Override
  public void adamW(Update update, double epsilon) {
    MemoryTensor means = MemoryTensor.of(update.mean());
    MemoryTensor squares = MemoryTensor.of(update.square());
    AdamW step = update.step();
    Trained trained = new Trained(step, update.gradient(), update.master(), update.weight());
    for (long i = 0; i < update.gradient().elements(); i++) {
      double g = trained.takeGradient(i);
      means.set(i, step.beta1() * means.get(i) + (1 - step.beta1()) * g);
      squares.set(i, step.beta2() * squares.get(i) + (1 - step.beta2()) * g * g);
      trained.move(i, means.get(i), squares.get(i), epsilon);
    }
  }

  @Override
  public void adamW8Bit(Update8Bit update) {
    AdamW step = update.step();
    Tensor gradient = update.gradient();
    Trained trained = new Trained(step, gradient, update.master(), update.weight());
    for (long block = 0; block < update.moments().rows(); block++) {
      EightBitMoments held = new EightBitMoments(update.moments().slice(block, block + 1));
      double[] means = held.means();
      double[] squares = held.squares();
      long first = block * EightBitMoments.BLOCK;
      for (int k = 0; k < Math.min(EightBitMoments.BLOCK, gradient.elements() - first); k++) {
        double g = trained.takeGradient(first + k);
        means[k] = step.beta1() * means[k] + (1 - step.beta1()) * g;
        squares[k] = step.beta2() * squares[k] + (1 - step.beta2()) * g * g;
        trained.move(first + k, means[k], squares[k], step.epsilon());
      }
      held.set(means, squares);
    }
  }

  /** What a step of AdamW moves. */
  private record Trained(AdamW step, Tensor gradient, @Nullable Tensor master, Tensor weight) {
    /** The gradient by an element, multiplied by the step's scale; it becomes 0. */
    double takeGradient(long i) {
      double g = step.gradientScale() * MemoryTensor.of(gradient).get(i);
      MemoryTensor.of(gradient).set(i, 0);
      return g;
    }

    void move(long i, double mean, double square, double epsilon) {
      MemoryTensor from = MemoryTensor.of(master == null ? weight : master);
      double root = Math.sqrt(square) / step.squareCorrection();
      double moved = step.stepSize() * mean / (root + epsilon);
      double value = (1 - step.rate() * step.decay()) * from.get(i) - moved;
      if (master == null) {
        int random = StochasticRounding.bits(step.key(), i);
        from.set(i, StochasticRounding.round(weight.dtype(), (float) value, random));
      } else {
        from.set(i, value);
        MemoryTensor.of(weight).set(i, from.get(i));
      }
    }
  }

  private static double[] values(Tensor tensor) {
    double[] values = new double[Math.toIntExact(tensor.elements())];
    Arrays.setAll(values, i -> MemoryTensor.of(tensor).get(i));
    return values;
  }

  private static void set(Tensor tensor, double[] values) {
    for (int i = 0; i < values.length; i++) {
      MemoryTensor.of(tensor).set(i, values[i]);
    }
  }
}
