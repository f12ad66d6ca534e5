package dev.laco.training;

import dev.laco.backend.Tensor;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.LowRankAdapter;
import dev.laco.transformer.TrainedTensor;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Layers of which adapters are trained. The weights that the forward pass uses, {@code W + alpha /
 * rank * B A}, are computed once after each change of the adapters: the product in f32, the sum
 * rounded once to the type of the checkpoint. They are what is written.
 *
 * <p>With the gradient {@code G} by these weights, those by the factors are {@code alpha / rank * G
 * A^T} and {@code alpha / rank * B^T G}. The gradients {@code G} of one layer are held at a time.
 */
final class AdaptedLayers extends TrainedLayers {
  private static final int NONE = -1;

  private final Adapters how;
  private final long seed;
  private final List<Adapted> layers = new ArrayList<>();
  private final List<Result> ofFinalNorm = new ArrayList<>();
  private final StudentPass.FinalNorm finalNorm;

  /** By the tensor, the weights of one layer, where no more stay in memory. */
  private final Map<TensorSpec, Tensor> rooms = new HashMap<>();

  /** The layer whose weights are in {@link #rooms}. */
  private int current = NONE;

  /** By the tensor: the product of factors, or the gradients of the layer at hand, f32. */
  private final Map<TensorSpec, Tensor> whole = new HashMap<>();

  /** The gradient by the {@code B} of one matrix, on one batch. */
  private final Tensor byB;

  /** A layer, and the adapters of its projections. */
  private record Adapted(
      Map<TensorSpec, Tensor> tensors, SequencedMap<TensorSpec, LowRankAdapter> adapters) {}

  AdaptedLayers(Student student, Adapters how, long seed, Residence residence) {
    super(student, residence);
    this.how = how;
    this.seed = seed;
    long longest = 0;
    for (int index = first; index < depth(); index++) {
      Map<TensorSpec, Tensor> tensors = new HashMap<>();
      SequencedMap<TensorSpec, LowRankAdapter> adapters = new LinkedHashMap<>();
      for (Map.Entry<TensorSpec, Tensor> stored : stored(index)) {
        TensorSpec spec = stored.getKey();
        Tensor start = stored.getValue();
        Tensor weight =
            residence.keepsWeights()
                ? like(start)
                : rooms.computeIfAbsent(spec, absent -> like(start));
        tensors.put(spec, weight);
        whole.computeIfAbsent(spec, absent -> f32(weight.rows(), weight.columns()));
        if (Adapters.adapts(spec)) {
          adapters.put(spec, adapter(index, spec));
          longest = Math.max(longest, weight.rows() / Adapters.matrices(spec));
        }
      }
      layers.add(new Adapted(tensors, adapters));
    }
    outside.weights().release();
    byB = f32(longest, how.rank());
    Architecture family = outside.config().architecture();
    Tensor weight = outer(family.finalNorm());
    @Nullable Tensor bias = family.finalNormBias().map(this::outer).orElse(null);
    finalNorm =
        new StudentPass.FinalNorm(
            weight,
            f32(weight.rows(), weight.columns()),
            bias,
            bias == null ? null : f32(bias.rows(), bias.columns()));
    outside.weights().release();
    restart();
  }

  private Tensor like(Tensor start) {
    return arena.allocate(start.dtype(), start.rows(), start.columns());
  }

  private Tensor outer(String name) {
    HostTensor stored = outside.weights().tensor(name);
    Tensor start = backend.weight(stored);
    Tensor weight = like(start);
    backend.copy(start, weight);
    ofFinalNorm.add(new Result(name, stored.shape(), weight));
    return weight;
  }

  private Tensor f32(long rows, long columns) {
    return arena.allocate(DType.F32, rows, columns);
  }

  private LowRankAdapter adapter(int index, TensorSpec spec) {
    String name = Adapters.projection(name(index, spec));
    return LowRankAdapter.zero(
        arena,
        Adapters.matrices(spec),
        name + Adapters.A,
        how.shapeOfA(spec),
        name + Adapters.B,
        how.shapeOfB(spec));
  }

  /**
   * What {@code A} begins with, as PyTorch's linear layers do: uniform between {@code -1 /
   * sqrt(in)} and {@code 1 / sqrt(in)} (He et al. 2015, with a slope of the root of 5).
   */
  private float[] startOfA(TensorSpec spec, SplittableRandom random) {
    float[] values = zeros(how.shapeOfA(spec));
    double bound = 1 / Math.sqrt(spec.shape().getLast());
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (bound * (2 * random.nextDouble() - 1));
    }
    return values;
  }

  private static float[] zeros(List<Long> shape) {
    return new float[Math.toIntExact(shape.getFirst() * shape.getLast())];
  }

  /**
   * Bytes of the trained layers with all that belongs to their training.
   *
   * @param weightBytes bytes of these layers in the checkpoint
   * @param trained number of trained layers
   */
  static long bytes(
      ModelConfig config, Adapters how, long weightBytes, int trained, Residence residence) {
    int depth = config.numHiddenLayers();
    long longest =
        IntStream.range(depth - trained, depth)
            .boxed()
            .flatMap(layer -> config.architecture().layerTensors(config, layer).stream())
            .filter(Adapters::adapts)
            .mapToLong(spec -> spec.elements() / spec.shape().getLast() / Adapters.matrices(spec))
            .max()
            .orElse(0);
    return how.parameters(config, depth - trained, depth) * (TrainedTensor.BYTES + Float.BYTES)
        + (residence.keepsWeights() ? weightBytes : weightBytes / trained)
        + (config.layerParameters() + longest * how.rank()) * Float.BYTES;
  }

  @Override
  void forEachTogether(Use use, Consumer<List<TrainedTensor>> action) {
    action.accept(
        layers.stream()
            .flatMap(layer -> layer.adapters.values().stream())
            .flatMap(adapter -> Stream.of(adapter.a(), adapter.b()))
            .toList());
  }

  @Override
  void bringState(TrainedTensor tensor) {
    // All adapters are in memory.
  }

  @Override
  void forEachResult(Consumer<Result> action) {
    for (int index = first; index < depth(); index++) {
      int layer = index;
      trained(index)
          .forEach(
              (spec, weight) -> action.accept(new Result(name(layer, spec), spec.shape(), weight)));
    }
    ofFinalNorm.forEach(action);
  }

  @Override
  public double gradientScale() {
    return how.scale();
  }

  @Override
  public StudentPass.FinalNorm finalNorm() {
    return finalNorm;
  }

  @Override
  protected Map<TensorSpec, Tensor> trained(int index) {
    if (!residence.keepsWeights() && index != current) {
      compute(index);
      current = index;
    }
    return layers.get(index - first).tensors;
  }

  /** {@inheritDoc} They are zeros: the gradients of the layer before were handed on. */
  @Override
  public LayerWeights gradients(int index) {
    Map<TensorSpec, Tensor> gradients = new HashMap<>();
    trained(index)
        .forEach(
            (spec, _) -> {
              Tensor gradient = tensor(whole, spec);
              backend.zero(gradient);
              gradients.put(spec, gradient);
            });
    return LayerWeights.of(gradients);
  }

  /** {@inheritDoc} Adds the gradients by the factors. */
  @Override
  public void differentiated(int index) {
    layers
        .get(index - first)
        .adapters
        .forEach((spec, adapter) -> adapter.addGradients(backend, tensor(whole, spec), byB));
  }

  private static Tensor tensor(Map<TensorSpec, Tensor> tensors, TensorSpec spec) {
    Tensor tensor = tensors.get(spec);
    if (tensor == null) {
      throw new IllegalStateException("no tensor " + spec.suffix());
    }
    return tensor;
  }

  /** {@inheritDoc} Computes the weights, of all layers that stay in memory. */
  @Override
  void changed() {
    current = NONE;
    if (residence.keepsWeights()) {
      for (int index = first; index < depth(); index++) {
        compute(index);
      }
    }
  }

  private void compute(int index) {
    Adapted layer = layers.get(index - first);
    for (Map.Entry<TensorSpec, Tensor> start : stored(index)) {
      TensorSpec spec = start.getKey();
      Tensor weight = tensor(layer.tensors, spec);
      LowRankAdapter adapter = layer.adapters.get(spec);
      if (adapter == null) {
        backend.copy(start.getValue(), weight);
      } else {
        Tensor product = tensor(whole, spec);
        adapter.multiply(backend, product);
        LowRankAdapter.add(backend, start.getValue(), product, how.scale(), weight);
      }
    }
    outside.weights().release();
  }

  @Override
  void restart() {
    SplittableRandom random = new SplittableRandom(seed);
    for (Adapted layer : layers) {
      layer.adapters.forEach(
          (spec, adapter) -> {
            adapter.a().restart(backend, startOfA(spec, random));
            adapter.b().restart(backend, zeros(how.shapeOfB(spec)));
          });
    }
    changed();
  }
}
