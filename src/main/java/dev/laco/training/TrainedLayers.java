package dev.laco.training;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.LayerAttention;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.LayerStack;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.TrainedTensor;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * The layers of a pruned model, of which those from one layer on are trained. Layers in front are
 * those that the pruned model has.
 */
abstract class TrainedLayers implements StudentPass.Layers, AutoCloseable {
  /** The pruned model's embedding, final norm and head. */
  protected final RunningModel outside;

  protected final Backend backend;

  /** The first layer that is trained. */
  protected final int first;

  /** What of the trained layers stays in memory. */
  protected final Residence residence;

  /** Frees all tensors when the layers are closed. */
  protected final TensorArena arena;

  private final LayerStack start;

  /** Layers that are trained as a student's are before. */
  protected TrainedLayers(Student student, Residence residence) {
    this.residence = residence;
    this.outside = student.outside();
    this.backend = outside.backend();
    this.start = student.layers();
    this.first = student.first();
    this.arena = backend.arena();
  }

  /**
   * Copies the layers that are to be trained.
   *
   * @param settings what is trained, and what adapters begin with
   * @param residence what stays in the device's memory
   * @param folder of the file in which the rest lies
   * @param reserved bytes of the disk that the file leaves free
   */
  static TrainedLayers of(
      Student student,
      DistillationSettings settings,
      Residence residence,
      Path folder,
      long reserved) {
    Adapters adapters = settings.adapters();
    return adapters == null
        ? WholeLayers.of(student, settings.held(), residence, folder, reserved)
        : new AdaptedLayers(student, adapters, settings.seed(), residence);
  }

  /**
   * A tensor of the trained model, as it is written.
   *
   * @param name in the pruned model
   * @param shape as checkpoints store it
   */
  record Result(String name, List<Long> shape, Tensor weight) {}

  /** The tensors of a layer before its training, in an order that is always the same. */
  protected final List<Map.Entry<TensorSpec, Tensor>> stored(int index) {
    // The layer as it is stored, whatever a device would do for few tokens.
    return start.tensors(index, Integer.MAX_VALUE).entrySet().stream()
        .sorted(Comparator.comparing(stored -> stored.getKey().suffix()))
        .toList();
  }

  /** The name of a tensor of a layer. */
  protected final String name(int index, TensorSpec spec) {
    return outside.config().architecture().tensorName(index, spec);
  }

  /** What an action does with a trained tensor. */
  enum Use {
    /** Reads name and shape, and no values. */
    NAME,
    /** Reads the weight. */
    WEIGHT,
    /** Reads the gradient. */
    GRADIENT,
    /** Reads and changes everything. */
    EVERYTHING
  }

  /**
   * Does something with everything that is trained, as much at once as is in memory together, in an
   * order that is always the same. The values that {@code use} names are there while the action
   * runs.
   */
  abstract void forEachTogether(Use use, Consumer<List<TrainedTensor>> action);

  /** Does something with each tensor that is trained, as {@link #forEachTogether}. */
  final void forEach(Use use, Consumer<TrainedTensor> action) {
    forEachTogether(use, tensors -> tensors.forEach(action));
  }

  /** The number of parameters that are trained. */
  final long parameters() {
    long[] sum = {0};
    forEach(Use.NAME, tensor -> sum[0] += tensor.weight().elements());
    return sum[0];
  }

  /** The norm of all gradients together. */
  final double gradientNorm() {
    double[] sum = {0};
    forEachTogether(
        Use.GRADIENT,
        tensors -> {
          List<Tensor> gradients = tensors.stream().map(TrainedTensor::gradient).toList();
          for (double squares : backend.training().sumsOfSquares(gradients)) {
            sum[0] += squares;
          }
        });
    return Math.sqrt(sum[0]);
  }

  /** Makes the values of {@link TrainedTensor#state} valid, until another tensor is used. */
  abstract void bringState(TrainedTensor tensor);

  /** Does something with all tensors of the trained layers and the final norm. */
  abstract void forEachResult(Consumer<Result> action);

  /** The tensors of a trained layer. */
  protected abstract Map<TensorSpec, Tensor> trained(int index);

  /** Is told that what is trained has new values. */
  abstract void changed();

  /** Takes everything back to what it was before the training. */
  abstract void restart();

  /** What of the trained layers stays in memory. */
  final Residence residence() {
    return residence;
  }

  @Override
  public final int depth() {
    return start.depth();
  }

  @Override
  public final Map<TensorSpec, Tensor> tensors(int index, long tokens) {
    return index < first ? start.tensors(index, tokens) : trained(index);
  }

  @Override
  public final LayerAttention attention(int index) {
    return start.attention(index);
  }

  @Override
  public void close() {
    arena.close();
  }
}
