package dev.laco.training;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.Architecture;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.LayerStack;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.TrainedTensor;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The layers of a pruned model, of which those from one layer on are trained, and the final norm
 * with them. Layers in front are those that the pruned model has.
 */
final class TrainedLayers implements LayerStack, AutoCloseable {
  private final RunningModel outside;
  private final LayerStack start;
  private final int first;
  private final TensorArena arena;
  private final List<TrainedTensor> all = new ArrayList<>();
  private final List<Trained> layers = new ArrayList<>();
  private final FinalNorm finalNorm;

  /** The weights of a trained layer, and the sums of their gradients. */
  private record Trained(
      Map<TensorSpec, Tensor> tensors, LayerWeights weights, LayerWeights gradients) {}

  /**
   * The norm behind the last layer.
   *
   * @param bias null for zeros
   */
  record FinalNorm(TrainedTensor weight, @Nullable TrainedTensor bias) {}

  /**
   * Copies the layers that are to be trained.
   *
   * @param outside the pruned model's embedding, final norm and head
   * @param start the pruned model's layers
   * @param first of the layers that are trained
   */
  TrainedLayers(RunningModel outside, LayerStack start, int first) {
    this.outside = outside;
    this.start = start;
    this.first = first;
    Backend backend = outside.backend();
    ModelConfig config = outside.config();
    Architecture family = config.architecture();
    arena = backend.arena();
    for (int index = first; index < start.depth(); index++) {
      Map<TensorSpec, Tensor> weights = new HashMap<>();
      Map<TensorSpec, Tensor> gradients = new HashMap<>();
      for (Map.Entry<TensorSpec, Tensor> stored : stored(index)) {
        TensorSpec spec = stored.getKey();
        String name = family.tensorName(index, spec);
        TrainedTensor tensor =
            TrainedTensor.of(backend, arena, name, spec.shape(), stored.getValue());
        all.add(tensor);
        weights.put(spec, tensor.weight());
        gradients.put(spec, tensor.gradient());
      }
      layers.add(new Trained(weights, LayerWeights.of(weights), LayerWeights.of(gradients)));
    }
    finalNorm =
        new FinalNorm(
            outer(outside, family.finalNorm()),
            family.finalNormBias().map(name -> outer(outside, name)).orElse(null));
    outside.weights().release();
  }

  /** The tensors of a layer before its training, in an order that is always the same. */
  private List<Map.Entry<TensorSpec, Tensor>> stored(int index) {
    // The layer as it is stored, whatever a device would do for few tokens.
    return start.tensors(index, Integer.MAX_VALUE).entrySet().stream().sorted(BY_NAME).toList();
  }

  /** Takes all tensors back to what they were before their training. */
  void restart() {
    Backend backend = outside.backend();
    Iterator<TrainedTensor> tensors = all.iterator();
    for (int index = first; index < start.depth(); index++) {
      for (Map.Entry<TensorSpec, Tensor> stored : stored(index)) {
        tensors.next().set(backend, stored.getValue());
      }
    }
    tensors.forEachRemaining(
        tensor -> tensor.set(backend, backend.weight(outside.weights().tensor(tensor.name()))));
    outside.weights().release();
    all.forEach(tensor -> tensor.forget(backend.training()));
  }

  private static final Comparator<Map.Entry<TensorSpec, Tensor>> BY_NAME =
      Comparator.comparing(stored -> stored.getKey().suffix());

  private TrainedTensor outer(RunningModel outside, String name) {
    Backend backend = outside.backend();
    HostTensor stored = outside.weights().tensor(name);
    TrainedTensor tensor =
        TrainedTensor.of(backend, arena, name, stored.shape(), backend.weight(stored));
    all.add(tensor);
    return tensor;
  }

  /**
   * Bytes of the trained layers with all that belongs to their training.
   *
   * @param parameters of the trained layers
   * @param weightBytes bytes of these parameters in the checkpoint
   */
  static long bytes(long parameters, long weightBytes) {
    return parameters * TrainedTensor.BYTES + weightBytes;
  }

  /** Everything that is trained, in an order that is always the same. */
  List<TrainedTensor> all() {
    return all;
  }

  FinalNorm finalNorm() {
    return finalNorm;
  }

  /** The sums of the gradients of a trained layer. */
  LayerWeights gradients(int index) {
    return layers.get(index - first).gradients;
  }

  @Override
  public int depth() {
    return start.depth();
  }

  @Override
  public Map<TensorSpec, Tensor> tensors(int index, long tokens) {
    return index < first ? start.tensors(index, tokens) : layers.get(index - first).tensors;
  }

  @Override
  public LayerWeights layer(int index, long tokens) {
    return index < first ? start.layer(index, tokens) : layers.get(index - first).weights;
  }

  @Override
  public LayerAttention attention(int index) {
    return start.attention(index);
  }

  @Override
  public void close() {
    arena.close();
  }
}
