package dev.laco.backend.reference;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.ForwardContract;
import dev.laco.backend.MemoryContract;
import dev.laco.backend.ScoringContract;
import dev.laco.backend.SolvingContract;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TrainingContract;
import dev.laco.model.Activation;
import dev.laco.model.DType;
import java.util.Arrays;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The reference backend keeps the contracts of all ops; some of its results are compared with known
 * values.
 */
class ReferenceBackendTest {
  @Nested
  class Memory extends MemoryContract {
    Memory() {
      super(ReferenceBackendTest::open);
    }
  }

  @Nested
  class Forward extends ForwardContract {
    Forward() {
      super(ReferenceBackendTest::open);
    }
  }

  @Nested
  class Scoring extends ScoringContract {
    Scoring() {
      super(ReferenceBackendTest::open);
    }
  }

  @Nested
  class Solving extends SolvingContract {
    Solving() {
      super(ReferenceBackendTest::open);
    }
  }

  @Nested
  class Training extends TrainingContract {
    Training() {
      super(ReferenceBackendTest::open);
    }
  }

  private static Backend open() {
    return new ReferenceBackend(Compute.F32);
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void slopesAreWhatCentralDifferencesTendTo(Activation activation) {
    float step = 1 / 128f;
    float[] gate = new float[1025];
    float[] ones = new float[gate.length];
    float[] before = new float[gate.length];
    float[] after = new float[gate.length];
    for (int i = 0; i < gate.length; i++) {
      // The kink of ReLU is no gate, and no difference reaches beyond it.
      gate[i] = (i - 511.5f) / 64;
      ones[i] = 1;
      before[i] = gate[i] - step;
      after[i] = gate[i] + step;
    }
    float[] low = activations(activation, before);
    float[] high = activations(activation, after);
    try (Backend backend = open();
        TensorArena arena = backend.arena()) {
      Tensor gates = arena.allocate(DType.F32, 1, gate.length);
      Tensor gradients = arena.allocate(DType.F32, 1, gate.length);
      backend.upload(gate, gates);
      backend.upload(ones, gradients);
      backend.training().gatedGradients(activation, gates, null, gradients);
      float[] slopes = new float[gate.length];
      backend.download(gates, slopes);
      for (int i = 0; i < gate.length; i++) {
        // The values are f32, with an error of 2.4e-7 at 8. So a difference that is divided by 2 /
        // 128
        // has an error of 3e-5.
        double difference = ((double) high[i] - low[i]) / (2 * step);
        assertEquals(difference, slopes[i], 5e-5, activation + " at " + gate[i]);
      }
    }
  }

  private float[] activations(Activation activation, float[] gate) {
    float[] values = new float[gate.length];
    Arrays.fill(values, 1);
    try (Backend backend = open();
        TensorArena arena = backend.arena()) {
      Tensor gates = arena.allocate(DType.F32, 1, gate.length);
      Tensor out = arena.allocate(DType.F32, 1, gate.length);
      backend.upload(gate, gates);
      backend.upload(values, out);
      backend.gatedActivation(activation, gates, out, out);
      backend.download(out, values);
    }
    return values;
  }

  @ParameterizedTest
  @CsvSource({
    // by math.erfc of Python
    "0,1",
    "0.5,0.4795001221869535",
    "-0.5,1.5204998778130465",
    "1.9999,0.004679802092970608",
    "2,0.004677734981047266",
    "5,1.5374597944280347e-12",
    "-3,1.9999779095030015",
    "20,5.395865611607901e-176",
  })
  void complementaryErrorFunction(double x, double expected) {
    assertEquals(expected, Erf.erfc(x), 1e-12 * expected);
  }
}
