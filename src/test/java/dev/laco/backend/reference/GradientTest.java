package dev.laco.backend.reference;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.Head;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The gradients of the reference backend are the limits of central differences of its forward ops.
 * The loss of every test is a sum of the op's results, each times a random number.
 */
class GradientTest {
  /** Distance of the points of a difference: its error is the square of this, and of f32. */
  private static final float STEP = 1 / 64f;

  private final Random random = new Random(5);
  private final Backend backend = new ReferenceBackend(Compute.F32);
  private final TrainingOps training = backend.training();
  private final TensorArena arena = backend.arena();
  private final TokenBatch batch =
      backend.batch(
          PackedSequences.of(List.of(new int[] {1, 4}, new int[] {3, 0, 2, 2})),
          1,
          new float[6],
          new float[6]);

  @AfterEach
  void close() {
    batch.close();
    arena.close();
    backend.close();
  }

  /** Computes the results of an op from the tensors that it is given. */
  private interface Op {
    void run(Tensor out);
  }

  private Tensor normal(int rows, int columns) {
    Tensor tensor = zeros(rows, columns);
    float[] values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    backend.upload(values, tensor);
    return tensor;
  }

  private Tensor zeros(int rows, int columns) {
    return arena.allocate(DType.F32, rows, columns);
  }

  private float[] download(Tensor tensor) {
    float[] values = new float[Math.toIntExact(tensor.elements())];
    backend.download(tensor, values);
    return values;
  }

  private Tensor copy(Tensor tensor) {
    Tensor copy = zeros(Math.toIntExact(tensor.rows()), Math.toIntExact(tensor.columns()));
    backend.copy(tensor, copy);
    return copy;
  }

  /** Compares a gradient with differences of the loss when an element of {@code x} moves. */
  private void check(String what, Op op, Tensor x, Tensor out, Tensor byOut, Tensor byX) {
    float[] at = download(x);
    float[] factors = download(byOut);
    float[] found = download(byX);
    double[] expected = new double[at.length];
    for (int i = 0; i < at.length; i++) {
      double difference = 0;
      for (int side = -1; side <= 1; side += 2) {
        float[] moved = at.clone();
        moved[i] += side * STEP;
        backend.upload(moved, x);
        op.run(out);
        float[] results = download(out);
        for (int j = 0; j < results.length; j++) {
          difference += side * (double) factors[j] * results[j];
        }
      }
      expected[i] = difference / (2 * STEP);
    }
    backend.upload(at, x);
    double largest = Arrays.stream(expected).map(Math::abs).max().orElseThrow();
    for (int i = 0; i < at.length; i++) {
      assertEquals(expected[i], found[i], 2e-3 * largest, what + " " + i);
    }
  }

  @Test
  void ofALinearLayer() {
    Tensor x = normal(3, 5);
    Tensor weight = normal(4, 5);
    Tensor bias = normal(1, 4);
    Tensor byOut = normal(3, 4);
    Op op = out -> backend.linear(x, weight, bias, out);
    Tensor byX = zeros(3, 5);
    training.linearGradient(byOut, weight, true, byX);
    check("x", op, x, zeros(3, 4), byOut, byX);
    Tensor byWeight = zeros(4, 5);
    backend.crossProduct(byOut, x, byWeight);
    check("weight", op, weight, zeros(3, 4), byOut, byWeight);
    Tensor byBias = zeros(1, 4);
    training.addColumns(byOut, byBias);
    check("bias", op, bias, zeros(3, 4), byOut, byBias);
  }

  @Test
  void ofNorms() {
    Tensor x = normal(6, 7);
    Tensor byOut = normal(6, 7);
    Tensor weight = normal(1, 7);
    NormSpec spec = new NormSpec(0.01, 1);
    Tensor byX = zeros(6, 7);
    Tensor byWeight = zeros(1, 7);
    training.rmsNormGradient(x, weight, spec, byOut, byWeight, byX);
    Op rms = out -> backend.rmsNorm(x, weight, spec, out);
    check("x of RMS norm", rms, x, zeros(6, 7), byOut, byX);
    check("weight of RMS norm", rms, weight, zeros(6, 7), byOut, byWeight);

    Tensor scales = normal(2, 7);
    Tensor shifts = normal(2, 7);
    Tensor byScales = zeros(2, 7);
    Tensor byShifts = zeros(2, 7);
    training.layerNormGradient(x, scales, spec, byOut, byScales, byShifts, byX);
    Op layer = out -> backend.layerNorm(x, scales, shifts, spec, out);
    check("x of layer norm", layer, x, zeros(6, 7), byOut, byX);
    check("weight of layer norm", layer, scales, zeros(6, 7), byOut, byScales);
    check("bias of layer norm", layer, shifts, zeros(6, 7), byOut, byShifts);
  }

  @ParameterizedTest
  @CsvSource({"0,0,false", "2,0,false", "0,1.5,false", "3,2,true"})
  void ofAttention(int window, double softCap, boolean alibi) {
    AttentionSpec spec =
        new AttentionSpec(4, 2, 3, window, new LogitSpec(0.6, softCap), alibi, DType.F32);
    Tensor query = normal(6, 12);
    Tensor key = normal(6, 6);
    Tensor value = normal(6, 6);
    Tensor byOut = normal(6, 12);
    Tensor out = zeros(6, 12);
    Tensor logSums = zeros(6, 4);
    Tensor byQuery = zeros(6, 12);
    Tensor byKey = zeros(6, 6);
    Tensor byValue = zeros(6, 6);
    training.attention(query, key, value, null, spec, batch, out, logSums);
    training.attentionGradient(
        query, key, value, spec, batch, out, logSums, byOut, byQuery, byKey, byValue);
    Op op = to -> backend.attention(query, key, value, null, spec, batch, to);
    check("query", op, query, zeros(6, 12), byOut, byQuery);
    check("key", op, key, zeros(6, 12), byOut, byKey);
    check("value", op, value, zeros(6, 12), byOut, byValue);
  }

  @Test
  void ofCausalConvolution() {
    Tensor x = normal(6, 3);
    Tensor weight = normal(3, 4);
    Tensor byOut = normal(6, 3);
    Tensor byX = zeros(6, 3);
    Tensor byWeight = zeros(3, 4);
    training.causalConvolutionGradient(x, weight, batch, byOut, byWeight, byX);
    Op op = out -> backend.causalConvolution(x, weight, batch, null, out);
    check("x", op, x, zeros(6, 3), byOut, byX);
    check("weight", op, weight, zeros(6, 3), byOut, byWeight);
  }

  @Test
  void ofTheDeltaRule() {
    DeltaSpec spec = new DeltaSpec(2, 4, 3, 5);
    Tensor heads = normal(6, 32);
    Tensor decay = normal(6, 4);
    Tensor rate = normal(6, 4);
    Tensor logDecay = normal(1, 4);
    Tensor bias = normal(1, 4);
    Tensor byOut = normal(6, 20);
    Tensor errors = zeros(6, 20);
    Tensor byHeads = zeros(6, 32);
    Tensor byDecay = zeros(6, 4);
    Tensor byRate = zeros(6, 4);
    Tensor byLog = zeros(6, 4);
    Tensor sum = zeros(1, 4);
    training.gatedDelta(heads, decay, rate, logDecay, bias, spec, batch, zeros(6, 20), errors);
    training.gatedDeltaGradient(
        heads, decay, rate, logDecay, bias, spec, batch, errors, byOut, byHeads, byDecay, byRate,
        byLog);
    Op op = out -> backend.gatedDelta(heads, decay, rate, logDecay, bias, spec, batch, null, out);
    check("heads", op, heads, zeros(6, 20), byOut, byHeads);
    check("decay", op, decay, zeros(6, 20), byOut, byDecay);
    check("rate", op, rate, zeros(6, 20), byOut, byRate);
    training.addColumns(byDecay, sum);
    check("bias", op, bias, zeros(6, 20), byOut, sum);
    backend.zero(sum);
    training.addColumns(byLog, sum);
    check("logDecay", op, logDecay, zeros(6, 20), byOut, sum);
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void ofGatedActivation(Activation activation) {
    Tensor gate = normal(5, 6);
    Tensor up = normal(5, 6);
    Tensor byOut = normal(5, 6);
    Tensor byGate = copy(gate);
    Tensor byUp = copy(up);
    training.gatedGradients(activation, byGate, byUp, byOut);
    Op gated = out -> backend.gatedActivation(activation, gate, up, out);
    check("gate", gated, gate, zeros(5, 6), byOut, byGate);
    check("up", gated, up, zeros(5, 6), byOut, byUp);
    Tensor alone = copy(gate);
    training.gatedGradients(activation, alone, null, byOut);
    Op plain = out -> backend.gatedActivation(activation, gate, null, out);
    check("gate without up", plain, gate, zeros(5, 6), byOut, alone);
  }

  @Test
  void ofTheClampedGate() {
    ClampedGate gate = new ClampedGate(1.702, 1.5);
    Tensor gateUp = normal(5, 12);
    Tensor byOut = normal(5, 6);
    Tensor byGateUp = copy(gateUp);
    training.clampedGateGradients(byGateUp, gate, byOut);
    Op clamped = out -> backend.clampedGate(gateUp, gate, out);
    check("gate and up", clamped, gateUp, zeros(5, 6), byOut, byGateUp);
  }

  @ParameterizedTest
  @CsvSource({"0,false,0", "0.3,true,0", "1,false,2"})
  void ofTheLossOfDistillation(double labelShare, boolean unitRows, double softCap) {
    Tensor hidden = normal(6, 4);
    Tensor reference = normal(6, 4);
    Head head = new Head(normal(9, 4), unitRows, new LogitSpec(1.5, softCap));
    Tensor byHidden = zeros(6, 4);
    Tensor ones = zeros(6, 1);
    backend.upload(new float[] {1, 1, 1, 1, 1, 1}, ones);
    training.distillationLoss(
        hidden, reference, head, batch, labelShare, 1, new double[6], byHidden);
    Op losses =
        out -> {
          double[] found = new double[6];
          training.distillationLoss(
              hidden, reference, head, batch, labelShare, 1, found, zeros(6, 4));
          float[] rounded = new float[6];
          for (int t = 0; t < 6; t++) {
            rounded[t] = (float) found[t];
          }
          backend.upload(rounded, out);
        };
    check("hidden", losses, hidden, zeros(6, 1), ones, byHidden);
  }

  @ParameterizedTest
  @CsvSource({"0", "1"})
  void theLossesAreThoseOfScoring(double labelShare) {
    Tensor hidden = normal(6, 4);
    Tensor reference = normal(6, 4);
    Head head = new Head(normal(9, 4), LogitSpec.PLAIN);
    double[] losses = new double[6];
    double[] expected = new double[6];
    training.distillationLoss(hidden, reference, head, batch, labelShare, 1, losses, zeros(6, 4));
    if (labelShare == 0) {
      backend.klDivergence(hidden, reference, head, batch, expected);
    } else {
      backend.logProbability(hidden, head, batch, expected);
      expected = Arrays.stream(expected).map(value -> 0 - value).toArray();
    }
    for (int t = 0; t < 6; t++) {
      assertEquals(expected[t], losses[t], 1e-12);
    }
  }
}
