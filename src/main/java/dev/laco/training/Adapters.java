package dev.laco.training;

import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorGroup;
import dev.laco.model.TensorSpec;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Low-rank adapters (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"): in
 * place of a matrix {@code W [out, in]} the factors {@code A [rank, in]} and {@code B [out, rank]}
 * of a change of it are trained, and the model has {@code W + alpha / rank * B A}. In the beginning
 * {@code B} is zero. Every projection of a layer has adapters; routers of mixtures, norms and
 * biases have none.
 *
 * @param rank columns of {@code B}
 * @param alpha the change is multiplied by {@code alpha / rank}
 */
public record Adapters(int rank, double alpha) {
  /** What stands behind the name of a projection in the name of its {@code A}. */
  public static final String A = ".lora_A.weight";

  /** The same of its {@code B}. */
  public static final String B = ".lora_B.weight";

  /** By what a change is multiplied. */
  double scale() {
    return alpha / rank;
  }

  /** Whether a tensor of a layer has adapters. */
  static boolean adapts(TensorSpec spec) {
    return spec.group() != TensorGroup.NORMS
        && spec.isMatrix()
        && !spec.has(LayerRole.ROUTER)
        && !spec.has(LayerRole.SHARED_ROUTER);
  }

  /** The matrices in a tensor, each with adapters of its own: of some mixtures one each expert. */
  static int matrices(TensorSpec spec) {
    return spec.shape().size() == 2 ? 1 : Math.toIntExact(spec.shape().getFirst());
  }

  /** The shape of all {@code A} of a tensor, one below the other. */
  List<Long> shapeOfA(TensorSpec spec) {
    return List.of((long) matrices(spec) * rank, spec.shape().getLast());
  }

  /** The shape of all {@code B} of a tensor, one below the other. */
  List<Long> shapeOfB(TensorSpec spec) {
    return List.of(spec.elements() / spec.shape().getLast(), (long) rank);
  }

  /** The name of a tensor without what all weights end with. */
  static String projection(String tensorName) {
    return tensorName.endsWith(".weight")
        ? tensorName.substring(0, tensorName.length() - ".weight".length())
        : tensorName;
  }

  /** Parameters of the adapters of a model's layers {@code [from, to)}. */
  public long parameters(ModelConfig config, int from, int to) {
    return IntStream.range(from, to)
        .boxed()
        .flatMap(layer -> config.architecture().layerTensors(config, layer).stream())
        .filter(Adapters::adapts)
        .mapToLong(spec -> elements(shapeOfA(spec)) + elements(shapeOfB(spec)))
        .sum();
  }

  private static long elements(List<Long> shape) {
    return shape.getFirst() * shape.getLast();
  }
}
