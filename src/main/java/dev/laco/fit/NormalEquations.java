package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;

/**
 * The normal equations of a weighted least squares fit of {@code W [d, k]}: {@code sum_t w_t |W a_t
 * - h_t|^2} for features {@code a_t} and targets {@code h_t}, gathered block by block. On the
 * device, f32.
 */
final class NormalEquations implements AutoCloseable {
  private final Backend backend;
  private final TensorArena arena;
  private final Tensor gram;
  private final Tensor cross;
  private final Tensor squares;

  /** Equations of {@code features} unknowns for each of {@code outputs}. */
  NormalEquations(Backend backend, long features, long outputs) {
    this.backend = backend;
    arena = backend.arena();
    gram = arena.allocate(DType.F32, features, features);
    cross = arena.allocate(DType.F32, outputs, features);
    squares = arena.allocate(DType.F32, 1, outputs);
  }

  /** Bytes that they take. */
  static long bytes(long features, long outputs) {
    return (features * features + outputs * features + outputs) * DType.F32.byteSize();
  }

  /**
   * Adds a block.
   *
   * @param scaled features, row t times {@code sqrt(w_t)}: {@code [T, k]}
   * @param target likewise: {@code [T, d]}
   */
  void add(Tensor scaled, Tensor target) {
    backend.crossProduct(scaled, scaled, gram);
    backend.crossProduct(target, scaled, cross);
    backend.addSquares(target, squares);
  }

  /** Adds all that others have gathered. */
  void add(NormalEquations others) {
    backend.add(gram, others.gram);
    backend.add(cross, others.cross);
    backend.add(squares, others.squares);
  }

  /** {@code sum_t w_t a_t a_t^T}, {@code [k, k]}. */
  Tensor gram() {
    return gram;
  }

  /** {@code sum_t w_t h_t a_t^T}, {@code [d, k]}. */
  Tensor cross() {
    return cross;
  }

  /** {@code sum_t w_t |h_t|^2}. */
  double energy() {
    float[] columns = new float[Math.toIntExact(squares.columns())];
    backend.download(squares, columns);
    double sum = 0;
    for (float column : columns) {
      sum += column;
    }
    return sum;
  }

  @Override
  public void close() {
    arena.close();
  }
}
