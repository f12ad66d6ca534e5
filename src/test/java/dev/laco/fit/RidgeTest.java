package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Least squares on made-up features. */
class RidgeTest {
  private static final int INPUTS = 7;
  private static final int OUTPUTS = 3;
  private static final int ROWS = 64;

  private final Random random = new Random(5);

  @Test
  void anExactLinearMapIsFound() {
    float[] map = normal(OUTPUTS * INPUTS);
    solve(
        map,
        0,
        1e-9,
        solution -> {
          for (int i = 0; i < map.length; i++) {
            assertEquals(map[i], solution.values[i], 1e-4);
          }
          assertEquals(0, solution.error, 1e-4);
        });
  }

  @Test
  void whatIsOnlyNoiseIsLeftAlone() {
    solve(
        new float[OUTPUTS * INPUTS],
        1,
        1e4,
        solution -> {
          for (float value : solution.values) {
            assertEquals(0, value, 1e-3);
          }
        });
  }

  @Test
  void theErrorIsThatOnWhatWasHeldOut() {
    float[] map = normal(OUTPUTS * INPUTS);
    solve(map, 0.1, 1e-6, solution -> assertTrue(solution.error < 0.05));
  }

  /** Inputs of any size are shrunk alike, but for a hundredth of the mean. */
  @Test
  void thePenaltyIsOnWhatAChangeMoves() {
    float[] sizes = {1, 2, 4};
    double lambda = 0.5;
    try (Backend backend = new ReferenceBackend(Compute.F32);
        TensorArena arena = backend.arena();
        Moments moments = new Moments(backend, 3, 1, 1);
        Ridge ridge = new Ridge(backend, 3, 3)) {
      Tensor features = arena.allocate(DType.F32, 3, 3);
      Tensor target = arena.allocate(DType.F32, 3, 1);
      backend.upload(new float[] {sizes[0], 0, 0, 0, sizes[1], 0, 0, 0, sizes[2]}, features);
      backend.upload(sizes, target);
      moments.add(new Streams.Samples(features, target), false);
      float[] values = new float[3];
      backend.download(ridge.solve(moments, 0, lambda, true).change(), values);
      for (int i = 0; i < 3; i++) {
        double square = sizes[i] * sizes[i];
        assertEquals(square / (square + lambda * (square + 0.07)), values[i], 1e-6);
      }
    }
  }

  private record Solved(float[] values, double error) {}

  private void solve(
      float[] map, double noise, double lambda, java.util.function.Consumer<Solved> check) {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        TensorArena arena = backend.arena();
        Moments moments = new Moments(backend, INPUTS, OUTPUTS, 1);
        // Larger than needed, as for the smaller of two problems.
        Ridge ridge = new Ridge(backend, INPUTS + 2, OUTPUTS + 1)) {
      for (int block = 0; block < 4; block++) {
        float[] a = normal(ROWS * INPUTS);
        float[] h = normal(ROWS * OUTPUTS);
        for (int t = 0; t < ROWS; t++) {
          for (int o = 0; o < OUTPUTS; o++) {
            double sum = noise * h[t * OUTPUTS + o];
            for (int i = 0; i < INPUTS; i++) {
              sum += map[o * INPUTS + i] * a[t * INPUTS + i];
            }
            h[t * OUTPUTS + o] = (float) sum;
          }
        }
        Tensor features = arena.allocate(DType.F32, ROWS, INPUTS);
        Tensor target = arena.allocate(DType.F32, ROWS, OUTPUTS);
        backend.upload(a, features);
        backend.upload(h, target);
        moments.add(new Streams.Samples(features, target), block == 3);
      }
      Ridge.Solution solution = ridge.solve(moments, 0, lambda, true);
      float[] values = new float[map.length];
      backend.download(solution.change(), values);
      check.accept(new Solved(values, solution.error()));
    }
  }

  private float[] normal(int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }
}
