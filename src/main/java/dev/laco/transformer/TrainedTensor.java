package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TrainingOps;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A tensor that is trained, and what AdamW holds of it.
 *
 * @param name in the pruned model
 * @param shape as checkpoints store it
 * @param weight what the forward pass uses: the master, rounded to the dtype of the checkpoint
 * @param master the weight in f32
 * @param gradient f32
 * @param mean running mean of gradients, f32
 * @param square running mean of the squares of gradients, f32
 */
public record TrainedTensor(
    String name,
    List<Long> shape,
    Tensor weight,
    Tensor master,
    Tensor gradient,
    Tensor mean,
    Tensor square) {
  /** Bytes of f32 that each element has beside its weight. */
  public static final int BYTES = 4 * Float.BYTES;

  /** A copy of a tensor, which is then trained. */
  public static TrainedTensor of(
      Backend backend, TensorArena arena, String name, List<Long> shape, Tensor start) {
    TrainedTensor tensor = zeros(arena, name, shape, start.dtype(), start.rows(), start.columns());
    tensor.set(backend, start);
    return tensor;
  }

  /** A tensor of zeros, which is then trained. */
  public static TrainedTensor zeros(
      TensorArena arena, String name, List<Long> shape, DType dtype, long rows, long columns) {
    return new TrainedTensor(
        name,
        shape,
        arena.allocate(dtype, rows, columns),
        arena.allocate(DType.F32, rows, columns),
        arena.allocate(DType.F32, rows, columns),
        arena.allocate(DType.F32, rows, columns),
        arena.allocate(DType.F32, rows, columns));
  }

  /** Sets the weight; what AdamW holds stays. */
  public void set(Backend backend, Tensor value) {
    backend.copy(value, weight);
    backend.mix(List.of(new TensorMix(master, new double[] {1}, List.of(value))));
  }

  /** Sets a weight of f32, and forgets the gradient and what AdamW holds. */
  public void restart(Backend backend, float[] values) {
    backend.upload(values, gradient);
    set(backend, gradient);
    forget(backend);
  }

  /** All that a training goes on from, by the names under which it is kept: f32 each. */
  public Map<String, Tensor> state() {
    return Map.of(name + "/master", master, name + "/mean", mean, name + "/square", square);
  }

  /** Sets the weight to the master, rounded. */
  public void roundMaster(Backend backend) {
    backend.mix(List.of(new TensorMix(weight, new double[] {1}, List.of(master))));
  }

  /**
   * Forgets the gradient and what AdamW holds, which may be no numbers; the weight stays, and is
   * finite.
   */
  public void forget(Backend backend) {
    backend.mix(Stream.of(gradient, mean, square).map(tensor -> zeros(tensor, weight)).toList());
  }

  /** Sets a tensor of f32 to zeros; {@code like} has its shape, and finite elements. */
  public static void clear(Backend backend, Tensor tensor, Tensor like) {
    backend.mix(List.of(zeros(tensor, like)));
  }

  private static TensorMix zeros(Tensor tensor, Tensor like) {
    return new TensorMix(tensor, new double[] {0}, List.of(like));
  }

  /** Whether the tensor is a matrix: weights of norms and biases do not decay. */
  public boolean isMatrix() {
    return shape.size() > 1;
  }

  /** Takes one step against the gradient, which becomes 0. */
  public void step(TrainingOps training, TrainingOps.AdamW step) {
    step(training, step, null);
  }

  /**
   * Likewise.
   *
   * @param damping {@code [1, 1]}, in place of the epsilon of the step; null for that
   */
  public void step(TrainingOps training, TrainingOps.AdamW step, @Nullable Tensor damping) {
    training.adamW(step, damping, gradient, mean, square, master, weight);
  }

  /** Writes the weight to the host, where it has the same type. */
  public void save(Backend backend, HostTensor to) {
    backend.download(weight, to);
  }
}
