package dev.laco.backend.reference;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.Head;
import dev.laco.backend.MemoryBackend;
import dev.laco.backend.MemoryBatch;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.OpChecks;
import dev.laco.backend.SequenceStates;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;
import java.util.function.IntToDoubleFunction;
import java.util.stream.Collectors;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The ops in plain Java. Each op is written as its definition reads, calculates in f64, and rounds
 * its results to f32 once. The other backends are tested against this one; it is slow.
 */
public final class ReferenceBackend extends MemoryBackend {
  /** About what plain Java does that takes one element after the other. */
  private static final double OPERATIONS_PER_SECOND = 5e8;

  /** The sum by which normalised shares of experts are divided at least. */
  private static final double LEAST_SUM_OF_SCORES = 1e-20;

  /**
   * A reference backend.
   *
   * @param compute decides the dtype of mixed layers and nothing else; products are always f64
   */
  public ReferenceBackend(Compute compute) {
    super(compute);
  }

  @Override
  public DType productType(DType weights) {
    return DType.F32;
  }

  @Override
  public double operationsPerSecond(DType productType) {
    return productType == DType.F32 ? OPERATIONS_PER_SECOND : 0;
  }

  @Override
  public DeviceInfo info() {
    return DeviceInfo.inHostMemory(DeviceInfo.Kind.REFERENCE, "reference (plain Java, f64)");
  }

  @Override
  public void embed(Tensor table, TokenBatch batch, double scale, Tensor out) {
    OpChecks.embed(table, batch, MemoryBatch.of(batch).maxToken(), out);
    MemoryTensor from = MemoryTensor.of(table);
    MemoryTensor to = MemoryTensor.of(out);
    int[] tokens = batch.sequences().tokens();
    long width = table.columns();
    for (int t = 0; t < tokens.length; t++) {
      for (long i = 0; i < width; i++) {
        to.set(t * width + i, scale * from.get(tokens[t] * width + i));
      }
    }
  }

  @Override
  public void rmsNorm(Tensor x, Tensor weight, NormSpec norm, Tensor out) {
    OpChecks.rmsNorm(x, weight, out);
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor scale = MemoryTensor.of(weight);
    MemoryTensor to = MemoryTensor.of(out);
    long width = x.columns();
    for (long start = 0; start < x.elements(); start += width) {
      double length = Math.sqrt(squares(from, start / width) / width + norm.eps());
      for (long i = 0; i < width; i++) {
        to.set(
            start + i, (float) ((norm.offset() + scale.get(i)) * (from.get(start + i) / length)));
      }
    }
  }

  @Override
  public void layerNorm(Tensor x, Tensor weight, @Nullable Tensor bias, NormSpec norm, Tensor out) {
    OpChecks.layerNorm(x, weight, bias, out);
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor scale = MemoryTensor.of(weight);
    MemoryTensor to = MemoryTensor.of(out);
    long width = x.columns();
    for (long r = 0; r < x.rows(); r++) {
      long start = r * width;
      double mean = 0;
      for (long i = 0; i < width; i++) {
        mean += (double) from.get(start + i) / width;
      }
      double variance = 0;
      for (long i = 0; i < width; i++) {
        double distance = from.get(start + i) - mean;
        variance += distance * distance / width;
      }
      double deviation = Math.sqrt(variance + norm.eps());
      for (long i = 0; i < width; i++) {
        long at = r % weight.rows() * width + i;
        double shift = bias == null ? 0 : MemoryTensor.of(bias).get(at);
        double normal = (from.get(start + i) - mean) / deviation;
        to.set(start + i, (float) ((norm.offset() + scale.get(at)) * normal + shift));
      }
    }
  }

  @Override
  public void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    OpChecks.linear(x, weight, bias, inputType(weight, x.rows()), out);
    float[][] columns = columns(x);
    MemoryTensor matrix = MemoryTensor.of(weight);
    MemoryTensor to = MemoryTensor.of(out);
    for (long o = 0; o < weight.rows(); o++) {
      float[] row = matrix.row(o);
      double shift = bias == null ? 0 : MemoryTensor.of(bias).get(o);
      double[] sums = new double[Math.toIntExact(x.rows())];
      for (int i = 0; i < row.length; i++) {
        for (int r = 0; r < sums.length; r++) {
          sums[r] += (double) columns[i][r] * row[i];
        }
      }
      for (int r = 0; r < sums.length; r++) {
        to.set(r * weight.rows() + o, (float) (sums[r] + shift));
      }
    }
  }

  @Override
  public void linearTransposed(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    OpChecks.linearTransposed(x, weight, bias, out);
    float[][] rows = rows(x);
    MemoryTensor matrix = MemoryTensor.of(weight);
    MemoryTensor to = MemoryTensor.of(out);
    int width = Math.toIntExact(weight.columns());
    double[][] sums = new double[rows.length][width];
    for (int i = 0; i < weight.rows(); i++) {
      float[] row = matrix.row(i);
      for (int r = 0; r < rows.length; r++) {
        for (int o = 0; o < width; o++) {
          sums[r][o] += (double) rows[r][i] * row[o];
        }
      }
    }
    for (int r = 0; r < rows.length; r++) {
      for (int o = 0; o < width; o++) {
        double shift = bias == null ? 0 : MemoryTensor.of(bias).get(o);
        to.set((long) r * width + o, sums[r][o] + shift);
      }
    }
  }

  @Override
  public void rope(
      Tensor x, RotaryPairs layout, int headDim, int table, TokenBatch batch, Tensor out) {
    OpChecks.rope(x, headDim, table, batch, out);
    if (!out.equals(x)) {
      copy(x, out);
    }
    rotate(x, layout, headDim, table, batch, 1, out);
  }

  /**
   * Writes the pairs of heads, rotated.
   *
   * @param direction 1, or -1 for the negative angles
   */
  static void rotate(
      Tensor x,
      RotaryPairs layout,
      int headDim,
      int table,
      TokenBatch batch,
      int direction,
      Tensor out) {
    MemoryTensor heads = MemoryTensor.of(x);
    MemoryTensor to = MemoryTensor.of(out);
    MemoryBatch angles = MemoryBatch.of(batch);
    int pairs = batch.rotaryPairs();
    for (long t = 0; t < x.rows(); t++) {
      for (long head = t * x.columns(); head < (t + 1) * x.columns(); head += headDim) {
        for (int i = 0; i < pairs; i++) {
          double cosine = f32(angles.cosine(table), t * pairs + i);
          double sine = direction * f32(angles.sine(table), t * pairs + i);
          long one = layout == RotaryPairs.HALVES ? head + i : head + 2L * i;
          long other = layout == RotaryPairs.HALVES ? one + pairs : one + 1;
          double first = heads.get(one);
          double second = heads.get(other);
          to.set(one, (float) (first * cosine - second * sine));
          to.set(other, (float) (second * cosine + first * sine));
        }
      }
    }
  }

  @Override
  public void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out) {
    DType type = keyValueType(spec.products(), spec.headDim());
    long rows = MemoryBatch.of(batch).keys();
    OpChecks.attention(query, key, value, sinks, spec, type, batch, rows, out);
    float[][] queries = rows(query);
    float[][] keys = rows(key);
    float[][] values = rows(value);
    MemoryTensor to = MemoryTensor.of(out);
    PackedSequences sequences = batch.sequences();
    int[] keyOffsets = sequences.keyOffsets();
    int width = spec.headDim();
    int group = spec.numHeads() / spec.numKeyValueHeads();
    float[] slopes = spec.slopes();
    for (int s = 0; s < sequences.sequences(); s++) {
      for (int i = 0; i < sequences.length(s); i++) {
        int last = sequences.past()[s] + i;
        int first = spec.slidingWindow() == 0 ? 0 : Math.max(0, last - spec.slidingWindow() + 1);
        int row = sequences.offsets()[s] + i;
        for (int h = 0; h < spec.numHeads(); h++) {
          int q = h * width;
          int kv = h / group * width;
          // Without a sink the last weight is 0.
          double[] weights = new double[last - first + 2];
          weights[last - first + 1] = sink(sinks, h);
          for (int j = first; j <= last; j++) {
            float[] seen = keys[keyOffsets[s] + j];
            double score = 0;
            for (int c = 0; c < width; c++) {
              score += (double) queries[row][q + c] * seen[kv + c];
            }
            weights[j - first] =
                spec.scores().apply(score) - (spec.alibi() ? slopes[h] * (last - j) : 0);
          }
          softmax(weights);
          double[] sums = new double[width];
          for (int j = first; j <= last; j++) {
            float[] seen = values[keyOffsets[s] + j];
            for (int c = 0; c < width; c++) {
              sums[c] += weights[j - first] * seen[kv + c];
            }
          }
          for (int c = 0; c < width; c++) {
            to.set(row * query.columns() + q + c, sums[c]);
          }
        }
      }
    }
  }

  @Override
  public void gatedActivation(Activation activation, Tensor gate, @Nullable Tensor up, Tensor out) {
    OpChecks.gatedActivation(gate, up, out);
    MemoryTensor gates = MemoryTensor.of(gate);
    MemoryTensor to = MemoryTensor.of(out);
    for (long i = 0; i < out.elements(); i++) {
      double factor = up == null ? 1 : MemoryTensor.of(up).get(i);
      to.set(i, (float) (activate(activation, gates.get(i)) * factor));
    }
  }

  /** The score of a head's sink; without sinks, the score of a weight of 0. */
  static double sink(@Nullable Tensor sinks, int head) {
    return sinks == null ? Double.NEGATIVE_INFINITY : MemoryTensor.of(sinks).get(head);
  }

  @Override
  public void clampedGate(Tensor gateUp, ClampedGate gate, Tensor out) {
    OpChecks.clampedGate(gateUp, out);
    MemoryTensor from = MemoryTensor.of(gateUp);
    MemoryTensor to = MemoryTensor.of(out);
    for (long i = 0; i < out.elements(); i++) {
      double g = Math.min(from.get(2 * i), gate.limit());
      double u = Math.min(Math.max(from.get(2 * i + 1), -gate.limit()), gate.limit());
      to.set(i, g * (u + 1) / (1 + Math.exp(-gate.slope() * g)));
    }
  }

  @Override
  public void route(
      Tensor logits,
      @Nullable Tensor correction,
      RouterSpec router,
      int[] experts,
      float[] shares) {
    OpChecks.route(logits, correction, router, experts, shares);
    MemoryTensor from = MemoryTensor.of(logits);
    int count = Math.toIntExact(logits.columns());
    int chosen = experts.length / Math.toIntExact(logits.rows());
    for (int t = 0; t < logits.rows(); t++) {
      double[] row = new double[count];
      for (int e = 0; e < count; e++) {
        row[e] = from.get((long) t * count + e);
      }
      // A softmax over all experts is not needed where only its ratios are.
      boolean ratios =
          router.scores() == RouterSpec.Scores.SOFTMAX
              && router.normalised()
              && router.added() == 0
              && correction == null;
      double[] scores = scores(router.scores(), row, ratios);
      double[] keys = row.clone();
      for (int e = 0; e < count && correction != null; e++) {
        keys[e] = scores[e] + MemoryTensor.of(correction).get(e);
      }
      IntPredicate stays = stays(router.groups(), correction == null ? scores : keys, keys);
      List<Integer> order =
          IntStream.range(0, count)
              .filter(stays)
              .boxed()
              .sorted(byFalling(e -> keys[e]))
              .limit(chosen)
              .toList();
      double sum = order.stream().mapToDouble(e -> scores[e]).sum();
      double least = ratios ? 0 : LEAST_SUM_OF_SCORES;
      double divisor = !router.normalised() ? 1 : Math.max(sum, least) + router.added();
      for (int i = 0; i < chosen; i++) {
        experts[t * chosen + i] = order.get(i);
        shares[t * chosen + i] = (float) (router.factor() * scores[order.get(i)] / divisor);
      }
    }
  }

  /** By falling keys, NaN last; zeros of either sign are equal. */
  private static Comparator<Integer> byFalling(IntToDoubleFunction key) {
    return Comparator.comparingDouble(
        i -> {
          double own = key.applyAsDouble(i);
          return Double.isNaN(own) ? Double.POSITIVE_INFINITY : 0 - own;
        });
  }

  /**
   * Whether an expert is of a group of which experts are chosen.
   *
   * @param scores with the correction
   * @param keys by which experts are chosen
   */
  private static IntPredicate stays(
      RouterSpec.@Nullable Groups groups, double[] scores, double[] keys) {
    if (groups == null) {
      return expert -> true;
    }
    int size = keys.length / groups.count();
    double[] best = new double[groups.count()];
    for (int g = 0; g < best.length; g++) {
      double[] own =
          Arrays.copyOfRange(groups.best() == 1 ? keys : scores, g * size, (g + 1) * size);
      best[g] =
          IntStream.range(0, size)
              .boxed()
              .sorted(byFalling(i -> own[i]))
              .limit(groups.best())
              .mapToDouble(i -> Double.isNaN(own[i]) ? Double.NEGATIVE_INFINITY : own[i])
              .sum();
    }
    Set<Integer> chosen =
        IntStream.range(0, best.length)
            .boxed()
            .sorted(byFalling(g -> best[g]))
            .limit(groups.chosen())
            .collect(Collectors.toSet());
    return expert -> chosen.contains(expert / size);
  }

  private static double[] scores(RouterSpec.Scores kind, double[] logits, boolean ratios) {
    if (kind == RouterSpec.Scores.SIGMOID) {
      return DoubleStream.of(logits).map(logit -> 1 / (1 + Math.exp(-logit))).toArray();
    }
    double most = DoubleStream.of(logits).filter(logit -> !Double.isNaN(logit)).max().orElse(0);
    double shift = most > Double.NEGATIVE_INFINITY ? most : 0;
    double sum = ratios ? 1 : DoubleStream.of(logits).map(logit -> Math.exp(logit - shift)).sum();
    return DoubleStream.of(logits).map(logit -> Math.exp(logit - shift) / sum).toArray();
  }

  @Override
  public void gather(Tensor x, int[] rows, Tensor out) {
    OpChecks.gather(x, rows, out);
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor to = MemoryTensor.of(out);
    for (int i = 0; i < rows.length; i++) {
      for (long c = 0; c < x.columns(); c++) {
        to.set(i * x.columns() + c, from.get(rows[i] * x.columns() + c));
      }
    }
  }

  @Override
  public void causalConvolution(
      Tensor x, Tensor weight, TokenBatch batch, @Nullable SequenceStates states, Tensor out) {
    OpChecks.causalConvolution(x, weight, batch, states, out);
    PackedSequences sequences = batch.sequences();
    MemoryTensor factors = MemoryTensor.of(weight);
    MemoryTensor to = MemoryTensor.of(out);
    int columns = Math.toIntExact(x.columns());
    int width = Math.toIntExact(weight.columns());
    for (int s = 0; s < sequences.sequences(); s++) {
      int first = sequences.offsets()[s];
      List<float[]> rows = new ArrayList<>();
      for (int i = 0; i < width - 1; i++) {
        rows.add(
            states == null || sequences.past()[s] == 0
                ? new float[columns]
                : state(states, sequences, s).reshape(width - 1, columns).row(i));
      }
      for (int t = 0; t < sequences.length(s); t++) {
        rows.add(MemoryTensor.of(x).row(first + t));
        for (int c = 0; c < columns; c++) {
          double sum = 0;
          for (int i = 0; i < width; i++) {
            sum += (double) factors.get((long) c * width + i) * rows.get(t + i)[c];
          }
          to.set((first + t) * x.columns() + c, sum);
        }
      }
      if (states != null && width > 1) {
        MemoryTensor kept = state(states, sequences, s);
        for (int i = 0; i < width - 1; i++) {
          float[] row = rows.get(sequences.length(s) + i);
          for (int c = 0; c < columns; c++) {
            kept.set((long) i * columns + c, row[c]);
          }
        }
      }
    }
  }

  private static MemoryTensor state(SequenceStates states, PackedSequences sequences, int s) {
    int slot = sequences.keyOffsets()[s] / states.capacity();
    return MemoryTensor.of(states.rows().slice(slot, slot + 1));
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
      @Nullable SequenceStates states,
      Tensor out) {
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, states, out);
    PackedSequences sequences = batch.sequences();
    ReferenceDelta delta = new ReferenceDelta(heads, decay, rate, logDecay, decayBias, spec);
    for (int s = 0; s < sequences.sequences(); s++) {
      MemoryTensor kept = states == null ? null : state(states, sequences, s);
      for (int h = 0; h < spec.valueHeads(); h++) {
        double[][] state = new double[spec.key()][spec.value()];
        long first = (long) h * spec.key() * spec.value();
        for (int i = 0; kept != null && sequences.past()[s] > 0 && i < spec.key(); i++) {
          for (int j = 0; j < spec.value(); j++) {
            state[i][j] = kept.get(first + (long) i * spec.value() + j);
          }
        }
        for (int t = sequences.offsets()[s]; t < sequences.offsets()[s + 1]; t++) {
          delta.set(out, t, h, delta.step(t, h, state).output());
        }
        for (int i = 0; kept != null && i < spec.key(); i++) {
          for (int j = 0; j < spec.value(); j++) {
            kept.set(first + (long) i * spec.value() + j, state[i][j]);
          }
        }
      }
    }
  }

  @Override
  public void copyColumns(Tensor x, int from, int count, Tensor out, int to) {
    OpChecks.copyColumns(x, from, count, out, to);
    MemoryTensor input = MemoryTensor.of(x);
    MemoryTensor output = MemoryTensor.of(out);
    long copies = out.rows() / x.rows();
    for (long r = 0; r < out.rows(); r++) {
      for (long c = 0; c < out.columns() - to; c++) {
        double value = c < count ? input.get(r / copies * x.columns() + from + c) : 0;
        output.set(r * out.columns() + to + c, value);
      }
    }
  }

  @Override
  public void addRows(Tensor x, int[] rows, float[] factors, Tensor y) {
    OpChecks.addRows(x, rows, factors, y);
    MemoryTensor to = MemoryTensor.of(x);
    MemoryTensor from = MemoryTensor.of(y);
    for (int i = 0; i < rows.length; i++) {
      for (long c = 0; c < x.columns(); c++) {
        long at = rows[i] * x.columns() + c;
        to.set(at, to.get(at) + (double) factors[i] * from.get(i * x.columns() + c));
      }
    }
  }

  @Override
  public void add(Tensor x, Tensor y) {
    OpChecks.add(x, y);
    MemoryTensor to = MemoryTensor.of(x);
    MemoryTensor from = MemoryTensor.of(y);
    for (long i = 0; i < x.elements(); i++) {
      to.set(i, (double) to.get(i) + from.get(i));
    }
  }

  @Override
  public void multiply(Tensor x, Tensor y, Tensor out) {
    OpChecks.multiply(x, y, out);
    MemoryTensor left = MemoryTensor.of(x);
    MemoryTensor right = MemoryTensor.of(y);
    MemoryTensor to = MemoryTensor.of(out);
    for (long i = 0; i < out.elements(); i++) {
      to.set(i, (double) left.get(i) * right.get(i));
    }
  }

  @Override
  public void mix(List<TensorMix> tensors) {
    for (TensorMix mix : tensors) {
      MemoryTensor to = MemoryTensor.of(mix.out());
      List<MemoryTensor> sources =
          mix.sources().stream().<MemoryTensor>map(MemoryTensor::of).toList();
      for (long i = 0; i < to.elements(); i++) {
        double sum = mix.coefficients()[0] * sources.getFirst().get(i);
        for (int j = 1; j < sources.size(); j++) {
          sum += mix.coefficients()[j] * sources.get(j).get(i);
        }
        to.set(i, sum);
      }
    }
  }

  @Override
  public double[] pairProducts(List<Tensor> tensors, int groups) {
    OpChecks.pairProducts(tensors, groups);
    int count = tensors.size();
    long elements = tensors.getFirst().elements() / groups;
    double[] products = new double[groups * count * count];
    for (int at = 0; at < products.length; at++) {
      MemoryTensor left = MemoryTensor.of(tensors.get(at / count % count));
      MemoryTensor right = MemoryTensor.of(tensors.get(at % count));
      long first = at / (count * count) * elements;
      for (long i = first; i < first + elements; i++) {
        products[at] += (double) left.get(i) * right.get(i);
      }
    }
    return products;
  }

  @Override
  public double[] cosine(Tensor reference, Tensor candidates, TokenBatch batch) {
    OpChecks.cosine(reference, candidates, batch);
    MemoryTensor left = MemoryTensor.of(reference);
    MemoryTensor right = MemoryTensor.of(candidates);
    int[] offsets = batch.sequences().offsets();
    int sequences = batch.sequences().sequences();
    int count = Math.toIntExact(candidates.rows() / reference.rows());
    double[] cosines = new double[count * sequences];
    for (int c = 0; c < cosines.length; c++) {
      long start = c / sequences * reference.elements();
      int s = c % sequences;
      double product = 0;
      double leftSquares = 0;
      double rightSquares = 0;
      for (long i = offsets[s] * left.columns(); i < offsets[s + 1] * left.columns(); i++) {
        double l = left.get(i);
        double r = right.get(start + i);
        product += l * r;
        leftSquares += l * l;
        rightSquares += r * r;
      }
      cosines[c] =
          product
              / (Math.max(Math.sqrt(leftSquares), 1e-8) * Math.max(Math.sqrt(rightSquares), 1e-8));
    }
    return cosines;
  }

  @Override
  public void logits(Tensor hidden, Head head, Tensor out) {
    OpChecks.logits(hidden, head, out);
    MemoryTensor to = MemoryTensor.of(out);
    for (long r = 0; r < out.rows(); r++) {
      double[] row = logits(MemoryTensor.of(hidden).row(r), head);
      for (int v = 0; v < row.length; v++) {
        to.set(r * row.length + v, row[v]);
      }
    }
  }

  static double[] logits(float[] hidden, Head head) {
    MemoryTensor matrix = MemoryTensor.of(head.weight());
    double[] logits = new double[Math.toIntExact(matrix.rows())];
    for (int v = 0; v < logits.length; v++) {
      float[] weights = matrix.row(v);
      double length = head.unitRows() ? length(weights) : 1;
      logits[v] = head.spec().apply(dot(hidden, weights) / length);
    }
    return logits;
  }

  static double length(float[] row) {
    double squares = 0;
    for (float x : row) {
      squares += (double) x * x;
    }
    return Math.max(Math.sqrt(squares), Head.LEAST_LENGTH);
  }

  @Override
  public void logProbability(Tensor hidden, Head head, TokenBatch batch, double[] out) {
    MemoryBatch sequences = MemoryBatch.of(batch);
    OpChecks.logProbability(hidden, head, batch, sequences.maxToken(), out);
    MemoryTensor states = MemoryTensor.of(hidden);
    int tokens = batch.sequences().size();
    for (int t = 0; t < out.length; t++) {
      int target = sequences.targets().getAtIndex(ValueLayout.JAVA_INT, t % tokens);
      if (target < 0) {
        out[t] = 0;
        continue;
      }
      double[] logits = logits(states.row(t), head);
      out[t] = logits[target] - logSumOfExponentials(logits);
    }
  }

  @Override
  public void sample(Tensor logits, double temperature, double[] shares, int[] out) {
    OpChecks.sample(logits, temperature, shares, out);
    MemoryTensor rows = MemoryTensor.of(logits);
    int columns = Math.toIntExact(logits.columns());
    for (int r = 0; r < out.length; r++) {
      float[] row = rows.row(r);
      int best = 0;
      for (int c = 1; c < columns; c++) {
        best = row[c] > row[best] || Float.isNaN(row[best]) ? c : best;
      }
      out[r] = best;
      if (temperature == 0) {
        continue;
      }
      double[] sums = new double[columns];
      for (int c = 0; c < columns; c++) {
        double weight = Math.exp(((double) row[c] - row[best]) / temperature);
        sums[c] = (c == 0 ? 0 : sums[c - 1]) + weight;
      }
      double wanted = shares[r] * sums[columns - 1];
      out[r] = IntStream.range(0, columns).filter(c -> sums[c] > wanted).findFirst().orElse(best);
    }
  }

  @Override
  public void klDivergence(
      Tensor hidden, Tensor reference, Head head, TokenBatch batch, double[] out) {
    OpChecks.klDivergence(hidden, reference, head, batch, out);
    MemoryTensor states = MemoryTensor.of(hidden);
    MemoryTensor references = MemoryTensor.of(reference);
    for (int t = 0; t < out.length; t++) {
      double[] logits = logits(states.row(t), head);
      double[] expected = logits(references.row(t % references.rows()), head);
      double shift = logSumOfExponentials(logits);
      double expectedShift = logSumOfExponentials(expected);
      double divergence = 0;
      for (int v = 0; v < logits.length; v++) {
        double logarithm = expected[v] - expectedShift;
        divergence += Math.exp(logarithm) * (logarithm - (logits[v] - shift));
      }
      out[t] = Math.max(0, divergence);
    }
  }

  @Override
  public void crossProduct(Tensor a, Tensor b, Tensor out) {
    OpChecks.crossProduct(a, b, productType(DType.BF16), out);
    float[][] left = rows(a);
    float[][] right = rows(b);
    MemoryTensor to = MemoryTensor.of(out);
    for (int i = 0; i < out.rows(); i++) {
      double[] sums = new double[Math.toIntExact(out.columns())];
      for (int j = 0; j < sums.length; j++) {
        sums[j] = to.get(i * out.columns() + j);
      }
      for (int r = 0; r < left.length; r++) {
        for (int j = 0; j < sums.length; j++) {
          sums[j] += (double) left[r][i] * right[r][j];
        }
      }
      for (int j = 0; j < sums.length; j++) {
        to.set(i * out.columns() + j, sums[j]);
      }
    }
  }

  @Override
  public void addGram(Tensor a, Tensor out) {
    OpChecks.addGram(a, productType(DType.BF16), out);
    float[][] rows = rows(a);
    MemoryTensor to = MemoryTensor.of(out);
    int n = Math.toIntExact(a.columns());
    for (int i = 0; i < n; i++) {
      double[] sums = new double[i + 1];
      for (float[] row : rows) {
        for (int j = 0; j <= i; j++) {
          sums[j] += (double) row[i] * row[j];
        }
      }
      for (int j = 0; j <= i; j++) {
        long at = (long) i * n + j;
        to.set(at, to.get(at) + sums[j]);
      }
    }
  }

  @Override
  public void inverseRms(Tensor x, double floor, Tensor out) {
    OpChecks.inverseRms(x, out);
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor to = MemoryTensor.of(out);
    long width = x.columns();
    for (long r = 0; r < x.rows(); r++) {
      to.set(r, 1 / Math.sqrt(Math.max(squares(from, r) / width, floor)));
    }
  }

  @Override
  public void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out) {
    OpChecks.scaledDifference(a, b, scale, out);
    MemoryTensor from = MemoryTensor.of(a);
    MemoryTensor factors = MemoryTensor.of(scale);
    MemoryTensor to = MemoryTensor.of(out);
    for (long i = 0; i < a.elements(); i++) {
      double subtracted = b == null ? 0 : MemoryTensor.of(b).get(i);
      to.set(i, factors.get(i / a.columns()) * (from.get(i) - subtracted));
    }
  }

  @Override
  public void gatherColumns(Tensor x, int[] columns, Tensor out, long first) {
    OpChecks.gatherColumns(x, columns, out, first);
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor to = MemoryTensor.of(out);
    for (long row = 0; row < x.rows(); row++) {
      for (int i = 0; i < columns.length; i++) {
        to.set(row * out.columns() + first + i, from.get(row * x.columns() + columns[i]));
      }
    }
  }

  @Override
  public void addSquares(Tensor x, Tensor out) {
    OpChecks.addSquares(x, out);
    MemoryTensor from = MemoryTensor.of(x);
    MemoryTensor to = MemoryTensor.of(out);
    for (long column = 0; column < x.columns(); column++) {
      double sum = to.get(column);
      for (long i = column; i < x.elements(); i += x.columns()) {
        sum += (double) from.get(i) * from.get(i);
      }
      to.set(column, sum);
    }
  }

  @Override
  public TrainingOps training() {
    return new ReferenceTraining();
  }

  @Override
  public void close() {
    // There is nothing to free: arenas and batches own the memory.
  }

  static double activate(Activation activation, double x) {
    return switch (activation) {
      case SILU -> x / (1 + Math.exp(-x));
      case GELU -> 0.5 * x * Erf.erfc(-x * Math.sqrt(0.5));
      case GELU_TANH ->
          0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
      case RELU -> Math.max(x, 0);
      case RELU_SQUARED -> Math.max(x, 0) * Math.max(x, 0);
      case SIGMOID -> 1 / (1 + Math.exp(-x));
      case LINEAR -> x;
    };
  }

  /** The derivative of {@link #activate}. */
  static double slope(Activation activation, double gate) {
    // Beyond 1000 the slope of SiLU and GELU is its limit, 0 or 1, in f64; at an infinity their
    // formulas give 0 times infinity.
    double x = Math.clamp(gate, -1000.0, 1000.0);
    return switch (activation) {
      case SILU -> logisticSlope(x, x);
      case GELU ->
          // (x P(x))' = P(x) + x p(x), with the normal distribution P and its density p.
          0.5 * Erf.erfc(-x * Math.sqrt(0.5)) + x * Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
      case GELU_TANH -> {
        // (1 + tanh(u)) / 2 = s(2u).
        double scale = 2 * Math.sqrt(2 / Math.PI);
        double cube = 0.044715 * x * x * x;
        yield logisticSlope(scale * (x + cube), scale * (x + 3 * cube));
      }
      case RELU -> Math.max(Math.signum(x), 0);
      case RELU_SQUARED -> 2 * Math.max(gate, 0);
      // No difference, of which nothing would be left for large gates.
      case SIGMOID -> {
        double e = Math.exp(-Math.abs(x));
        yield e / ((1 + e) * (1 + e));
      }
      case LINEAR -> 1;
    };
  }

  /**
   * The derivative of {@code x s(v)} by {@code x}, where {@code s} is the logistic function and
   * {@code v} depends on {@code x}. As {@code s' = s (1 - s)}, it is {@code s(v) + x v' s(v) (1 -
   * s(v))}.
   *
   * @param w {@code x v'}
   */
  static double logisticSlope(double v, double w) {
    double s = 1 / (1 + Math.exp(-v));
    return s * (1 + w * (1 - s));
  }

  static double logSumOfExponentials(double[] logits) {
    double largest = Arrays.stream(logits).max().orElseThrow();
    return largest + Math.log(Arrays.stream(logits).map(logit -> Math.exp(logit - largest)).sum());
  }

  private static void softmax(double[] scores) {
    double largest = Arrays.stream(scores).max().orElseThrow();
    double sum = 0;
    for (int i = 0; i < scores.length; i++) {
      scores[i] = Math.exp(scores[i] - largest);
      sum += scores[i];
    }
    for (int i = 0; i < scores.length; i++) {
      scores[i] /= sum;
    }
  }

  private static double squares(MemoryTensor matrix, long row) {
    double sum = 0;
    for (long i = row * matrix.columns(); i < (row + 1) * matrix.columns(); i++) {
      double value = matrix.get(i);
      sum += value * value;
    }
    return sum;
  }

  private static float[][] rows(Tensor matrix) {
    MemoryTensor from = MemoryTensor.of(matrix);
    float[][] rows = new float[Math.toIntExact(matrix.rows())][];
    for (int r = 0; r < rows.length; r++) {
      rows[r] = from.row(r);
    }
    return rows;
  }

  private static float[][] columns(Tensor matrix) {
    float[][] rows = rows(matrix);
    float[][] columns = new float[Math.toIntExact(matrix.columns())][rows.length];
    for (int r = 0; r < rows.length; r++) {
      for (int i = 0; i < columns.length; i++) {
        columns[i][r] = rows[r][i];
      }
    }
    return columns;
  }

  private static double dot(float[] left, float[] right) {
    double sum = 0;
    for (int i = 0; i < left.length; i++) {
      sum += (double) left[i] * right[i];
    }
    return sum;
  }

  private static float f32(MemorySegment segment, long index) {
    return segment.getAtIndex(ValueLayout.JAVA_FLOAT, index);
  }
}
