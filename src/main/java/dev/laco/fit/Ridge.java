package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.linalg.Cholesky;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/**
 * Ridge regression towards given weights: {@code W^T = (G + r I)^-1 (C^T + r W_0^T)} with {@code r =
 * lambda tr(G) / k}. Solved on the host in f64 by Cholesky factorisation; lambda is the one that is
 * best on documents that the equations have not seen.
 */
final class Ridge implements AutoCloseable {
  private final Backend backend;
  private final long features;
  private final long outputs;
  private final MemoryArena host = new MemoryArena();
  private final TensorArena arena;
  private final MemorySegment matrix;
  private final MemorySegment right;
  private final Tensor solution;
  private final Tensor product;
  private final float[] rows;

  /** Room for problems of so many unknowns and outputs. */
  Ridge(Backend backend, long features, long outputs) {
    this.backend = backend;
    this.features = features;
    this.outputs = outputs;
    matrix = host.allocate(features * features * Double.BYTES);
    right = host.allocate(features * outputs * Double.BYTES);
    arena = backend.arena();
    solution = arena.allocate(DType.F32, outputs, features);
    product = arena.allocate(DType.F32, outputs, features);
    rows = new float[Math.toIntExact(features)];
  }

  /** Bytes on the host, and on the device. */
  static long bytes(long features, long outputs) {
    return features * (features + outputs) * Double.BYTES
        + 2 * features * outputs * DType.F32.byteSize();
  }

  /**
   * What a fit came to.
   *
   * @param lambda the one that was chosen
   * @param before error on unseen documents of the weights as they were, relative to the target
   * @param after error of the fitted ones there
   */
  record Outcome(double lambda, double before, double after) {}

  /**
   * Chooses lambda on {@code unseen}, then solves with everything; the weights are left in {@link
   * #solution}. {@code seen} holds the sum afterwards.
   *
   * @param start {@code W_0 [d, k]}, f32
   */
  Outcome solve(NormalEquations seen, NormalEquations unseen, Tensor start, List<Double> lambdas) {
    double energy = unseen.energy();
    double before = error(start, unseen, energy);
    double best = Double.POSITIVE_INFINITY;
    double chosen = lambdas.getFirst();
    for (double lambda : lambdas) {
      solve(seen, start, lambda);
      double error = error(solution, unseen, energy);
      if (error < best) {
        best = error;
        chosen = lambda;
      }
    }
    seen.add(unseen);
    solve(seen, start, chosen);
    return new Outcome(chosen, before, best);
  }

  /** The weights of the last {@link #solve}, {@code [d, k]}, f32. */
  Tensor solution() {
    return solution;
  }

  /** Relative squared error of weights: {@code (tr(W G W^T) - 2 tr(W C^T) + energy) / energy}. */
  private double error(Tensor weights, NormalEquations equations, double energy) {
    backend.linear(weights, equations.gram(), null, product);
    float[] cross = new float[rows.length];
    float[] images = new float[rows.length];
    double sum = energy;
    for (long output = 0; output < outputs; output++) {
      backend.download(weights.slice(output, output + 1), rows);
      backend.download(product.slice(output, output + 1), images);
      backend.download(equations.cross().slice(output, output + 1), cross);
      for (int i = 0; i < rows.length; i++) {
        sum += rows[i] * ((double) images[i] - 2.0 * cross[i]);
      }
    }
    return sum / energy;
  }

  private void solve(NormalEquations equations, Tensor start, double lambda) {
    double trace = 0;
    for (long row = 0; row < features; row++) {
      backend.download(equations.gram().slice(row, row + 1), rows);
      trace += rows[(int) row];
      store(matrix, row);
    }
    double ridge = lambda * trace / features;
    for (long i = 0; i < features; i++) {
      long diagonal = i * (features + 1);
      matrix.setAtIndex(
          ValueLayout.JAVA_DOUBLE,
          diagonal,
          matrix.getAtIndex(ValueLayout.JAVA_DOUBLE, diagonal) + ridge);
    }
    for (long output = 0; output < outputs; output++) {
      backend.download(equations.cross().slice(output, output + 1), rows);
      store(right, output);
      backend.download(start.slice(output, output + 1), rows);
      for (int i = 0; i < rows.length; i++) {
        long index = output * features + i;
        right.setAtIndex(
            ValueLayout.JAVA_DOUBLE,
            index,
            right.getAtIndex(ValueLayout.JAVA_DOUBLE, index) + ridge * rows[i]);
      }
    }
    // Row-major [d, k] is what LAPACK calls k x d: one column for each output.
    Cholesky.solve(matrix, right, features, outputs);
    for (long output = 0; output < outputs; output++) {
      for (int i = 0; i < rows.length; i++) {
        rows[i] = (float) right.getAtIndex(ValueLayout.JAVA_DOUBLE, output * features + i);
      }
      backend.upload(rows, solution.slice(output, output + 1));
    }
  }

  private void store(MemorySegment to, long row) {
    for (int i = 0; i < rows.length; i++) {
      to.setAtIndex(ValueLayout.JAVA_DOUBLE, row * features + i, rows[i]);
    }
  }

  @Override
  public void close() {
    arena.close();
    host.close();
  }
}
