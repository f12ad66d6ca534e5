package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import java.util.List;

/**
 * A change of low rank of a weight, which is trained in place of the weight (Hu et al. 2021, "LoRA:
 * Low-Rank Adaptation of Large Language Models"): {@code scale * B A}. A tensor of the matrices of
 * several experts has such a change of each.
 *
 * @param matrices number of matrices, one below the other: {@code m}
 * @param a {@code [m * rank, in]}
 * @param b {@code [m * out, rank]}
 */
public record LowRankAdapter(int matrices, TrainedTensor a, TrainedTensor b) {
  /** Rows of a product of transposed matrices, so that little memory is rounded at once. */
  private static final long PIECE = 1024;

  /** A change of zero. */
  public static LowRankAdapter zero(
      TensorArena arena,
      int matrices,
      String nameOfA,
      List<Long> shapeOfA,
      String nameOfB,
      List<Long> shapeOfB) {
    return new LowRankAdapter(
        matrices, zeros(arena, nameOfA, shapeOfA), zeros(arena, nameOfB, shapeOfB));
  }

  private static TrainedTensor zeros(TensorArena arena, String name, List<Long> shape) {
    return TrainedTensor.zeros(
        arena, name, shape, DType.F32, shape.getFirst(), shape.getLast(), AdamWState.FULL);
  }

  /**
   * Computes the product {@code B A} in f32.
   *
   * @param product {@code [m * out, in]}
   */
  public void multiply(Backend backend, Tensor product) {
    for (int i = 0; i < matrices; i++) {
      backend.linearTransposed(part(b.weight(), i), part(a.weight(), i), null, part(product, i));
    }
  }

  /**
   * Adds the gradients by the factors of a change whose scale is 1.
   *
   * @param gradient {@code [m * out, in]}: by the weight
   * @param room {@code [out, rank]} or more rows: what is in it is lost
   */
  public void addGradients(Backend backend, Tensor gradient, Tensor room) {
    for (int i = 0; i < matrices; i++) {
      Tensor by = part(gradient, i);
      Tensor byB = room.slice(0, by.rows());
      backend.linear(by, part(a.weight(), i), null, byB);
      backend.add(part(b.gradient(), i), byB);
      Tensor factor = part(b.weight(), i);
      for (long from = 0; from < by.rows(); from += PIECE) {
        long to = Math.min(by.rows(), from + PIECE);
        backend.crossProduct(factor.slice(from, to), by.slice(from, to), part(a.gradient(), i));
      }
    }
  }

  private Tensor part(Tensor tensor, int index) {
    long rows = tensor.rows() / matrices;
    return tensor.slice(index * rows, (index + 1) * rows);
  }

  /**
   * Computes a weight with its change, rounded once: {@code out = weight + scale * product}.
   *
   * @param product what {@link #multiply} gave
   */
  public static void add(Backend backend, Tensor weight, Tensor product, double scale, Tensor out) {
    backend.mix(List.of(new TensorMix(out, new double[] {1, scale}, List.of(weight, product))));
  }
}
