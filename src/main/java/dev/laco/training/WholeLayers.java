package dev.laco.training;

import dev.laco.backend.Tensor;
import dev.laco.model.Architecture;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.TrainedTensor;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Layers of which all tensors are trained, and the final norm with them. */
final class WholeLayers extends TrainedLayers {
  private final List<Trained> layers = new ArrayList<>();
  private final FinalNorm finalNorm;

  /** The weights of a trained layer, and the sums of their gradients. */
  private record Trained(Map<TensorSpec, Tensor> tensors, LayerWeights gradients) {}

  WholeLayers(Student student) {
    super(student);
    for (int index = first; index < depth(); index++) {
      Map<TensorSpec, Tensor> weights = new HashMap<>();
      Map<TensorSpec, Tensor> gradients = new HashMap<>();
      for (Map.Entry<TensorSpec, Tensor> stored : stored(index)) {
        TensorSpec spec = stored.getKey();
        TrainedTensor tensor =
            TrainedTensor.of(backend, arena, name(index, spec), spec.shape(), stored.getValue());
        all.add(tensor);
        weights.put(spec, tensor.weight());
        gradients.put(spec, tensor.gradient());
      }
      layers.add(new Trained(weights, LayerWeights.of(gradients)));
    }
    Architecture family = outside.config().architecture();
    TrainedTensor weight = outer(family.finalNorm());
    @Nullable TrainedTensor bias = family.finalNormBias().map(this::outer).orElse(null);
    finalNorm =
        new FinalNorm(
            weight.weight(),
            weight.gradient(),
            bias == null ? null : bias.weight(),
            bias == null ? null : bias.gradient());
    outside.weights().release();
  }

  private TrainedTensor outer(String name) {
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

  @Override
  List<Result> results() {
    return all.stream()
        .map(tensor -> new Result(tensor.name(), tensor.shape(), tensor.weight()))
        .toList();
  }

  @Override
  double gradientScale() {
    return 1;
  }

  @Override
  FinalNorm finalNorm() {
    return finalNorm;
  }

  @Override
  protected Map<TensorSpec, Tensor> trained(int index) {
    return layers.get(index - first).tensors;
  }

  @Override
  LayerWeights gradients(int index) {
    return layers.get(index - first).gradients;
  }

  @Override
  void differentiated(int index) {
    // The gradients are sums over all batches of a step.
  }

  @Override
  void changed() {
    // What is trained are the weights themselves.
  }

  @Override
  void restart() {
    Iterator<TrainedTensor> tensors = all.iterator();
    for (int index = first; index < depth(); index++) {
      for (Map.Entry<TensorSpec, Tensor> stored : stored(index)) {
        tensors.next().set(backend, stored.getValue());
      }
    }
    tensors.forEachRemaining(
        tensor -> tensor.set(backend, backend.weight(outside.weights().tensor(tensor.name()))));
    outside.weights().release();
    all.forEach(tensor -> tensor.forget(backend.training()));
  }
}
