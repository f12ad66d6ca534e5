package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import java.util.Random;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.Test;

/** Least squares on made-up features. */
class RidgeTest {
  private static final int INPUTS = 7;
  private static final int OUTPUTS = 3;
  private static final int ROWS = 64;

  @Test
  void anExactLinearMapIsFound() {
    float[] map = normal(new Random(4), OUTPUTS * INPUTS);
    Solved solved = solve(map, 0, 1e-9, true);
    assertArrayEquals(map, solved.change, 1e-4f);
    assertEquals(0, solved.error, 1e-4);
  }

  /** A fit of noise does harm on rows that it has not seen, unless the penalty takes it back. */
  @Test
  void whatIsOnlyNoiseHasNoSolution() {
    use(
        new float[OUTPUTS * INPUTS],
        1,
        (ridge, moments) -> {
          assertNull(ridge.solve(moments, 0, 1e-9, false));
          assertNull(ridge.solve(moments, 0, 1e-9, true));
          double fitted = ridge.error(moments, 0, 1e-9);
          assertTrue(fitted > 1.01, () -> "error " + fitted);
          assertEquals(1, ridge.error(moments, 0, 100), 1e-3);
        });
  }

  @Test
  void theErrorIsThatOnWhatWasHeldOut() {
    float[] map = normal(new Random(4), OUTPUTS * INPUTS);
    Solved solved = solve(map, 0.1, 1e-6, true);
    assertTrue(solved.error < 0.05, () -> "error " + solved.error);
  }

  @Test
  void heldOutRowsCountInTheChangeIfAskedForAndNeverInItsError() {
    float[] map = normal(new Random(4), OUTPUTS * INPUTS);
    Solved without = solve(map, 1, 1e-6, false);
    Solved with = solve(map, 1, 1e-6, true);
    assertEquals(without.error, with.error);
    assertTrue(distance(map, with.change) < distance(map, without.change));
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

  private record Solved(float[] change, double error) {}

  private static Solved solve(float[] map, double noise, double lambda, boolean withHeldOut) {
    float[] change = new float[map.length];
    double[] error = new double[1];
    use(
        map,
        noise,
        (ridge, moments) -> {
          Ridge.Solution solution = ridge.solve(moments, 0, lambda, withHeldOut);
          MemoryTensor values = MemoryTensor.of(solution.change());
          for (int i = 0; i < change.length; i++) {
            change[i] = values.get(i);
          }
          error[0] = solution.error();
        });
    return new Solved(change, error[0]);
  }

  /** Makes {@code map} and noise of four blocks of random features, the last of them held out. */
  private static void use(float[] map, double noise, BiConsumer<Ridge, Moments> problem) {
    Random random = new Random(5);
    try (Backend backend = new ReferenceBackend(Compute.F32);
        TensorArena arena = backend.arena();
        Moments moments = new Moments(backend, INPUTS, OUTPUTS, 1);
        // Larger than needed, as for the smaller of two problems.
        Ridge ridge = new Ridge(backend, INPUTS + 2, OUTPUTS + 1)) {
      for (int block = 0; block < 4; block++) {
        float[] a = normal(random, ROWS * INPUTS);
        float[] h = normal(random, ROWS * OUTPUTS);
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
      problem.accept(ridge, moments);
    }
  }

  private static double distance(float[] a, float[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += Math.pow((double) a[i] - b[i], 2);
    }
    return Math.sqrt(sum);
  }

  private static float[] normal(Random random, int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }
}
