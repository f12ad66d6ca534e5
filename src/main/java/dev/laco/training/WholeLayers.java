package dev.laco.training;

import dev.laco.backend.EightBitMoments;
import dev.laco.backend.Tensor;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.TrainedTensor;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Layers of which all tensors are trained, and the final norm with them. */
final class WholeLayers extends TrainedLayers {
  private final List<Trained> layers = new ArrayList<>();
  private final List<TrainedTensor> ofFinalNorm = new ArrayList<>();
  private final StudentPass.FinalNorm finalNorm;
  private final @Nullable SwapFile file;
  private final Part weights;
  private final Part gradients;
  private final Part masters;
  private final Part means;
  private final Part squares;
  private final AdamWState held;

  /** The tensors of a layer, and those of them that hold weights and gradients. */
  private record Trained(
      List<TrainedTensor> all,
      Map<TensorSpec, Tensor> tensors,
      Map<TensorSpec, Tensor> gradients) {}

  /** One of the tensors that training has of each parameter. */
  private final class Part {
    /** Null where the tensors of all layers stay in memory. */
    private final @Nullable SwappedTensors swapped;

    private final Map<TensorSpec, Tensor> rooms = new HashMap<>();

    private Part(boolean stays) {
      this.swapped = stays || file == null ? null : new SwappedTensors(file);
    }

    private Tensor allocate(int layer, TensorSpec spec, DType dtype, long rows, long columns) {
      if (swapped == null) {
        return arena.allocate(dtype, rows, columns);
      }
      Tensor room = rooms.computeIfAbsent(spec, absent -> arena.allocate(dtype, rows, columns));
      swapped.add(layer, room);
      return room;
    }

    private void use(int layer, boolean changes) {
      if (swapped != null) {
        swapped.use(layer, changes);
      }
    }
  }

  private WholeLayers(
      Student student, AdamWState held, Residence residence, @Nullable SwapFile file) {
    super(student, residence);
    this.held = held;
    this.file = file;
    this.weights = new Part(residence.keepsWeights());
    this.gradients = new Part(residence.keepsGradients());
    this.masters = new Part(residence.keepsMoments());
    this.means = new Part(residence.keepsMoments());
    this.squares = new Part(residence.keepsMoments());
    for (int index = first; index < depth(); index++) {
      Trained layer = new Trained(new ArrayList<>(), new HashMap<>(), new HashMap<>());
      for (Map.Entry<TensorSpec, Tensor> stored : stored(index)) {
        TensorSpec spec = stored.getKey();
        Tensor start = stored.getValue();
        TrainedTensor tensor = trained(index, spec, start);
        layer.all.add(tensor);
        layer.tensors.put(spec, tensor.weight());
        layer.gradients.put(spec, tensor.gradient());
      }
      layers.add(layer);
    }
    outside.weights().release();
    Architecture family = outside.config().architecture();
    TrainedTensor weight = outer(family.finalNorm());
    @Nullable TrainedTensor bias = family.finalNormBias().map(this::outer).orElse(null);
    finalNorm =
        new StudentPass.FinalNorm(
            weight.weight(),
            weight.gradient(),
            bias == null ? null : bias.weight(),
            bias == null ? null : bias.gradient());
    begin();
  }

  private TrainedTensor trained(int index, TensorSpec spec, Tensor start) {
    long rows = start.rows();
    long columns = start.columns();
    return new TrainedTensor(
        name(index, spec),
        spec.shape(),
        weights.allocate(index, spec, start.dtype(), rows, columns),
        held.masters() ? masters.allocate(index, spec, DType.F32, rows, columns) : null,
        gradients.allocate(index, spec, DType.F32, rows, columns),
        held.eightBit()
            ? new TrainedTensor.NarrowMoments(
                means.allocate(
                    index,
                    spec,
                    DType.F32,
                    EightBitMoments.blocks(rows * columns),
                    EightBitMoments.ROW))
            : new TrainedTensor.WideMoments(
                means.allocate(index, spec, DType.F32, rows, columns),
                squares.allocate(index, spec, DType.F32, rows, columns)));
  }

  /**
   * Copies the layers that are to be trained.
   *
   * @param held what AdamW holds of them
   * @param folder of the file for what does not stay in memory
   * @param reserved bytes of the disk that the file leaves free
   */
  static WholeLayers of(
      Student student, AdamWState held, Residence residence, Path folder, long reserved) {
    if (residence.keepsMoments()) {
      return new WholeLayers(student, held, residence, null);
    }
    ModelConfig config = student.outside().config();
    long parameters =
        IntStream.range(student.first(), student.layers().depth())
            .mapToLong(config::layerParameters)
            .sum();
    int trained = student.layers().depth() - student.first();
    long bytes = swappedBytes(parameters, tensors(config, trained), held, residence);
    SwapFile file = SwapFile.create(student.outside().backend(), folder, bytes, reserved);
    try {
      return new WholeLayers(student, held, residence, file);
    } catch (RuntimeException e) {
      file.close();
      throw e;
    }
  }

  /** At most the number of tensors of so many layers. */
  static long tensors(ModelConfig config, int layers) {
    return (long) layers
        * IntStream.range(0, config.numHiddenLayers())
            .map(layer -> config.architecture().layerTensors(config, layer).size())
            .max()
            .orElse(0);
  }

  /**
   * At most the bytes of what does not stay in memory.
   *
   * @param parameters of the trained layers
   * @param tensors of the trained layers, at most
   */
  static long swappedBytes(long parameters, long tensors, AdamWState held, Residence residence) {
    return (residence.keepsMoments() ? 0 : held.bytes(parameters, tensors))
        + (residence.keepsGradients() ? 0 : Float.BYTES * parameters)
        + (residence.keepsWeights() ? 0 : Float.BYTES * parameters);
  }

  /**
   * Bytes that a training writes to the file or reads from it.
   *
   * @param parameters of the trained layers
   * @param weightBytes bytes of these parameters in the checkpoint
   * @param steps of the optimizer
   * @param batches in which the steps run
   * @param heldOut batches in which the held-out text runs, all measurements together
   */
  static double traffic(
      long parameters,
      long weightBytes,
      AdamWState held,
      Residence residence,
      long steps,
      long batches,
      long heldOut) {
    double bytes = 0;
    if (!residence.keepsMoments()) {
      bytes += 2.0 * held.bytes(parameters, 0) * steps;
    }
    if (!residence.keepsGradients()) {
      // Sums over batches are read and written, then read for their norm, and emptied by a step.
      bytes += (double) Float.BYTES * parameters * (2 * batches + 3 * steps);
    }
    if (!residence.keepsWeights()) {
      // A batch reads weights forward and backward, and a step makes them anew.
      bytes += (double) weightBytes * (2 * batches + 2 * steps + heldOut);
    }
    return bytes;
  }

  private TrainedTensor outer(String name) {
    HostTensor stored = outside.weights().tensor(name);
    Tensor start = backend.weight(stored);
    TrainedTensor tensor =
        TrainedTensor.zeros(
            arena, name, stored.shape(), start.dtype(), start.rows(), start.columns(), held);
    ofFinalNorm.add(tensor);
    return tensor;
  }

  /**
   * Bytes of the trained layers with all that belongs to their training, in the device's memory.
   *
   * @param parameters of the trained layers
   * @param weightBytes bytes of these parameters in the checkpoint
   * @param tensors of the trained layers, at most
   * @param trained number of trained layers
   */
  static long bytes(
      long parameters,
      long weightBytes,
      long tensors,
      int trained,
      AdamWState held,
      Residence residence) {
    return (residence.keepsMoments()
            ? held.bytes(parameters, tensors)
            : held.bytes(parameters / trained, tensors / trained))
        + Float.BYTES * (residence.keepsGradients() ? parameters : parameters / trained)
        + (residence.keepsWeights() ? weightBytes : weightBytes / trained);
  }

  @Override
  void forEachTogether(Use use, Consumer<List<TrainedTensor>> action) {
    if (stays(use)) {
      action.accept(
          Stream.concat(layers.stream().flatMap(layer -> layer.all.stream()), ofFinalNorm.stream())
              .toList());
      return;
    }
    for (int index = first; index < depth(); index++) {
      switch (use) {
        case NAME -> {}
        case WEIGHT -> weights.use(index, false);
        case GRADIENT -> gradients.use(index, false);
        case EVERYTHING -> useAll(index);
      }
      action.accept(layers.get(index - first).all);
    }
    action.accept(ofFinalNorm);
  }

  /** Whether the values of all layers are in memory. */
  private boolean stays(Use use) {
    return switch (use) {
      case NAME -> true;
      case WEIGHT -> residence.keepsWeights();
      case GRADIENT -> residence.keepsGradients();
      case EVERYTHING -> residence.keepsMoments();
    };
  }

  private void useAll(int index) {
    List.of(weights, gradients, masters, means, squares).forEach(part -> part.use(index, true));
  }

  @Override
  void bringState(TrainedTensor tensor) {
    outside
        .config()
        .architecture()
        .layerOf(tensor.name())
        .ifPresent(
            layer ->
                List.of(held.masters() ? masters : weights, means, squares)
                    .forEach(part -> part.use(layer, false)));
  }

  @Override
  void forEachResult(Consumer<Result> action) {
    forEach(
        Use.WEIGHT,
        tensor -> action.accept(new Result(tensor.name(), tensor.shape(), tensor.weight())));
  }

  @Override
  public StudentPass.FinalNorm finalNorm() {
    return finalNorm;
  }

  @Override
  protected Map<TensorSpec, Tensor> trained(int index) {
    weights.use(index, false);
    return layers.get(index - first).tensors;
  }

  @Override
  public LayerWeights gradients(int index) {
    gradients.use(index, true);
    return LayerWeights.of(layers.get(index - first).gradients);
  }

  @Override
  void changed() {
    // What is trained are the weights themselves.
  }

  @Override
  void restart() {
    begin();
    forEach(Use.EVERYTHING, tensor -> tensor.forget(backend));
  }

  /** Sets the weights to those before the training. */
  private void begin() {
    for (int index = first; index < depth(); index++) {
      useAll(index);
      Iterator<TrainedTensor> tensors = layers.get(index - first).all.iterator();
      for (Map.Entry<TensorSpec, Tensor> stored : stored(index)) {
        tensors.next().set(backend, stored.getValue());
      }
    }
    outside.weights().release();
    ofFinalNorm.forEach(
        tensor -> tensor.set(backend, backend.weight(outside.weights().tensor(tensor.name()))));
    outside.weights().release();
  }

  @Override
  public void close() {
    super.close();
    if (file != null) {
      file.close();
    }
  }
}
