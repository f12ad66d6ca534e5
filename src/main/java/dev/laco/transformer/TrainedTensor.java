package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.EightBitMoments;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TrainingOps;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * A tensor that is trained, and what AdamW holds of it.
 *
 * @param name in the pruned model
 * @param shape as checkpoints store it
 * @param weight what the forward pass uses, of the dtype of the checkpoint
 * @param master the weight in f32, of which {@code weight} is rounded; null where steps move {@code
 *     weight} itself
 * @param gradient f32
 * @param moments running means of gradients and of their squares
 */
public record TrainedTensor(
    String name,
    List<Long> shape,
    Tensor weight,
    @Nullable Tensor master,
    Tensor gradient,
    Moments moments) {
  /** Bytes of f32 that each element has beside its weight, with {@link AdamWState#FULL}. */
  public static final int BYTES = 4 * Float.BYTES;

  /** Running means of gradients and of their squares. */
  public sealed interface Moments {
    /** The tensors that hold them, by the last part of the names under which they are kept. */
    Map<String, Tensor> tensors();
  }

  /**
   * In f32.
   *
   * @param mean of gradients
   * @param square of their squares
   */
  public record WideMoments(Tensor mean, Tensor square) implements Moments {
    @Override
    public Map<String, Tensor> tensors() {
      return Map.of("mean", mean, "square", square);
    }
  }

  /**
   * In 8 bits.
   *
   * @param blocks {@link EightBitMoments}
   */
  public record NarrowMoments(Tensor blocks) implements Moments {
    @Override
    public Map<String, Tensor> tensors() {
      return Map.of("moments", blocks);
    }
  }

  /** A tensor of zeros, which is then trained. */
  public static TrainedTensor zeros(
      TensorArena arena,
      String name,
      List<Long> shape,
      DType dtype,
      long rows,
      long columns,
      AdamWState held) {
    return new TrainedTensor(
        name,
        shape,
        arena.allocate(dtype, rows, columns),
        held.masters() ? arena.allocate(DType.F32, rows, columns) : null,
        arena.allocate(DType.F32, rows, columns),
        held.eightBit()
            ? new NarrowMoments(
                arena.allocate(
                    DType.F32, EightBitMoments.blocks(rows * columns), EightBitMoments.ROW))
            : new WideMoments(
                arena.allocate(DType.F32, rows, columns),
                arena.allocate(DType.F32, rows, columns)));
  }

  /** Sets the weight; what AdamW holds of gradients stays. */
  public void set(Backend backend, Tensor value) {
    backend.copy(value, weight);
    if (master != null) {
      backend.mix(List.of(new TensorMix(master, new double[] {1}, List.of(value))));
    }
  }

  /** Sets a weight of f32, and forgets the gradient and what AdamW holds. */
  public void restart(Backend backend, float[] values) {
    backend.upload(values, gradient);
    set(backend, gradient);
    forget(backend);
  }

  /** All that a training goes on from, by the names under which it is kept. */
  public Map<String, Tensor> state() {
    Map<String, Tensor> state = new HashMap<>();
    if (master == null) {
      state.put(name + "/weight", weight);
    } else {
      state.put(name + "/master", master);
    }
    moments.tensors().forEach((part, tensor) -> state.put(name + "/" + part, tensor));
    return state;
  }

  /** Sets the weight to the master, rounded; one without a master stays. */
  public void roundMaster(Backend backend) {
    if (master != null) {
      backend.mix(List.of(new TensorMix(weight, new double[] {1}, List.of(master))));
    }
  }

  /** Forgets the gradient and what AdamW holds of gradients, which may be no numbers. */
  public void forget(Backend backend) {
    backend.zero(gradient);
    moments.tensors().values().forEach(backend::zero);
  }

  /** Whether the tensor is a matrix: weights of norms and biases do not decay. */
  public boolean isMatrix() {
    return shape.size() > 1;
  }

  /** A step against the gradient of a tensor. */
  public record Step(TrainedTensor tensor, TrainingOps.AdamW numbers) {}

  /** Takes a step with each of several tensors, whose gradients become 0. */
  public static void take(TrainingOps training, List<Step> steps) {
    List<TrainingOps.Update> wide = new ArrayList<>();
    List<TrainingOps.Update8Bit> narrow = new ArrayList<>();
    for (Step step : steps) {
      TrainedTensor of = step.tensor;
      switch (of.moments) {
        case WideMoments(Tensor mean, Tensor square) ->
            wide.add(
                new TrainingOps.Update(
                    step.numbers, null, of.gradient, mean, square, of.master, of.weight));
        case NarrowMoments(Tensor blocks) ->
            narrow.add(
                new TrainingOps.Update8Bit(
                    step.numbers, of.gradient, blocks, of.master, of.weight));
      }
    }
    training.adamW(wide);
    training.adamW8Bit(narrow);
  }

  /** Writes the weight to the host, where it has the same type. */
  public void save(Backend backend, HostTensor to) {
    backend.download(weight, to);
  }
}
