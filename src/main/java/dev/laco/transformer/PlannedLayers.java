package dev.laco.transformer;

import dev.laco.backend.ForwardOps;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The layers of a plan. A tensor that a fit has computed, or that is a copy of one original tensor,
 * is used in its own memory. All others are mixed into one scratch layer, which the next mixed
 * layer overwrites; those of a plan that is kept are mixed once and stored, as far as there is
 * memory beside the weights.
 */
public final class PlannedLayers implements LayerStack, AutoCloseable {
  private final RunningModel original;
  private final ForwardOps backend;
  private final ModelConfig config;
  private final TensorSource source;
  private final CheckpointLayers originals;
  private final UnaryOperator<DType> mixedDType;
  private final TensorArena arena;
  private final Map<TensorSpec, Tensor> scratch = new HashMap<>();
  private final Set<LayerMix> wanted = new HashSet<>();
  private final Map<LayerMix, Stored> stored = new HashMap<>();
  private CollapsePlan plan;
  private NewWeights newWeights;

  /**
   * Layers of plans over one checkpoint, beginning with a plan without new tensors.
   *
   * @param mixedDType gives the dtype of a mixed tensor from the dtype of its base's tensor: {@link
   *     ForwardOps#mixedDType} for candidates that are scored, the identity for the values that
   *     would be written
   */
  PlannedLayers(RunningModel original, CollapsePlan plan, UnaryOperator<DType> mixedDType) {
    this.original = original;
    this.backend = original.backend();
    this.config = original.config();
    this.source = original.weights();
    this.originals = new CheckpointLayers(original);
    this.mixedDType = mixedDType;
    this.arena = backend.arena();
    this.plan = plan;
    this.newWeights = NewWeights.NONE;
  }

  /** Changes the plan whose layers this object gives. */
  public void use(CollapsePlan next) {
    use(next, NewWeights.NONE);
  }

  /** Changes the plan, with fitted tensors that take the place of what its mixes give. */
  public void use(CollapsePlan next, NewWeights tensors) {
    plan = next;
    newWeights = tensors;
  }

  /**
   * What is mixed of a layer, in memory of its own.
   *
   * @param bytes of the tensors
   */
  private record Stored(TensorArena arena, Map<TensorSpec, Tensor> tensors, long bytes) {}

  /** Stores the mixed layers of a plan when they are next asked for, and no others. */
  public void keep(CollapsePlan kept) {
    wanted.clear();
    kept.layers().stream().filter(mix -> mix.sources() > 1).forEach(wanted::add);
    Set<LayerMix> others = new HashSet<>(stored.keySet());
    others.removeAll(wanted);
    others.forEach(mix -> Objects.requireNonNull(stored.remove(mix)).arena().close());
  }

  /** Whether what is mixed of a layer is stored. */
  public boolean isStored(LayerMix mix) {
    return stored.containsKey(mix);
  }

  /** The model with these layers; it follows each change of the plan. */
  public CausalLm model() {
    return new CausalLm(outside(), this);
  }

  /** The original's config, with the embedding, final norm and head of the pruned model. */
  public RunningModel outside() {
    return original.with(new OutsideLayers());
  }

  /** The embedding, final norm and head: the fitted ones if there are any, or the original's. */
  private final class OutsideLayers implements TensorSource {
    @Override
    public HostTensor tensor(String name) {
      HostTensor computed = newWeights.find(name);
      return computed == null ? source.tensor(name) : computed;
    }

    @Override
    public void release() {
      source.release();
    }
  }

  @Override
  public int depth() {
    return plan.depth();
  }

  @Override
  public Map<TensorSpec, Tensor> tensors(int index, long tokens) {
    source.release();
    LayerMix mix = plan.layers().get(index);
    Map<TensorSpec, Tensor> tensors = new HashMap<>();
    addMixed(index, mix, tokens, tensors);
    for (TensorSpec spec : originals.specs(mix.base())) {
      HostTensor computed = computed(index, spec);
      if (computed != null) {
        tensors.put(spec, backend.weight(computed));
      } else if (isCopy(mix, spec)) {
        int layer = mix.of(spec.group()).terms().firstKey();
        tensors.put(spec, originals.tensor(layer, spec));
      }
    }
    if (index + 1 < depth()) {
      prefetch(index + 1);
    }
    return tensors;
  }

  /** The layer of the original that stays in the place of layer {@code index}. */
  public int base(int index) {
    return plan.layers().get(index).base();
  }

  /** Starts reading the tensors of layer {@code index}, which is needed soon. */
  public void prefetch(int index) {
    LayerMix mix = plan.layers().get(index);
    source.prefetch(
        originals.specs(mix.base()).stream()
            .filter(spec -> !isStored(mix) || isCopy(mix, spec))
            .flatMap(spec -> sources(mix, spec))
            .toList());
  }

  private @Nullable HostTensor computed(int index, TensorSpec spec) {
    return newWeights.find(config.architecture().tensorName(index, spec));
  }

  private static boolean isCopy(LayerMix mix, TensorSpec spec) {
    return mix.of(spec.group()).isCopy();
  }

  /** Names of the original tensors that a tensor of a layer is mixed from. */
  private Stream<String> sources(LayerMix mix, TensorSpec spec) {
    return mix.of(spec.group()).terms().keySet().stream().map(layer -> originals.name(layer, spec));
  }

  /** Mixes all tensors at once, or one by one if memory cannot hold the originals of all. */
  private void addMixed(int index, LayerMix mix, long tokens, Map<TensorSpec, Tensor> tensors) {
    List<TensorSpec> specs = originals.specs(mix.base());
    List<TensorSpec> mixed =
        specs.stream().filter(s -> !isCopy(mix, s) && computed(index, s) == null).toList();
    if (mixed.isEmpty()) {
      return;
    }
    Stored before = stored.get(mix);
    if (before != null) {
      mixed.forEach(spec -> tensors.put(spec, Objects.requireNonNull(before.tensors().get(spec))));
      return;
    }
    Stream<String> bases = mixed.stream().map(spec -> originals.name(mix.base(), spec));
    Stream<String> sources = specs.stream().flatMap(spec -> sources(mix, spec));
    if (source.fits(Stream.concat(bases, sources).toList())) {
      if (wanted.contains(mix) && store(mix, mixed)) {
        tensors.putAll(Objects.requireNonNull(stored.get(mix)).tensors());
        return;
      }
      List<TensorSpec> linear = mixed.stream().filter(TensorSpec::isLinear).toList();
      List<Tensor> results =
          backend.mixed(linear.stream().map(spec -> mixOf(mix, spec)).toList(), tokens);
      for (int i = 0; i < linear.size(); i++) {
        tensors.put(linear.get(i), results.get(i));
      }
      List<TensorSpec> others = mixed.stream().filter(spec -> !spec.isLinear()).toList();
      backend.mix(others.stream().map(spec -> mixOf(mix, spec)).toList());
      others.forEach(spec -> tensors.put(spec, Objects.requireNonNull(scratch.get(spec))));
      return;
    }
    for (TensorSpec spec : mixed) {
      TensorMix one = mixOf(mix, spec);
      backend.mix(List.of(one));
      tensors.put(spec, one.out());
      source.release();
    }
  }

  /** Stores what is mixed of a layer; false if memory does not suffice. */
  private boolean store(LayerMix mix, List<TensorSpec> mixed) {
    long bytes =
        mixed.stream()
            .map(spec -> originals.tensor(mix.base(), spec))
            .mapToLong(base -> base.elements() * mixedDType.apply(base.dtype()).byteSize())
            .sum();
    if (stored.values().stream().mapToLong(Stored::bytes).sum() + bytes > source.spare()) {
      return false;
    }
    TensorArena own = backend.arena();
    Map<TensorSpec, Tensor> tensors = new HashMap<>();
    List<TensorMix> mixes = new ArrayList<>();
    for (TensorSpec spec : mixed) {
      Tensor base = originals.tensor(mix.base(), spec);
      Tensor out = own.allocate(mixedDType.apply(base.dtype()), base.rows(), base.columns());
      tensors.put(spec, out);
      mixes.add(mixOf(mix, spec, out));
    }
    backend.mix(mixes);
    stored.put(mix, new Stored(own, tensors, bytes));
    return true;
  }

  private TensorMix mixOf(LayerMix mix, TensorSpec spec) {
    return mixOf(mix, spec, scratch(spec, originals.tensor(mix.base(), spec)));
  }

  private TensorMix mixOf(LayerMix mix, TensorSpec spec, Tensor out) {
    Map<Integer, Double> terms = mix.of(spec.group()).terms();
    return new TensorMix(
        out,
        terms.values().stream().mapToDouble(Double::doubleValue).toArray(),
        terms.keySet().stream().map(layer -> originals.tensor(layer, spec)).toList());
  }

  private Tensor scratch(TensorSpec spec, Tensor base) {
    DType dtype = mixedDType.apply(base.dtype());
    Tensor tensor = scratch.get(spec);
    if (tensor == null || tensor.dtype() != dtype) {
      tensor = arena.allocate(dtype, base.rows(), base.columns());
      scratch.put(spec, tensor);
    }
    return tensor;
  }

  @Override
  public LayerAttention attention(int index) {
    return config.attention().get(base(index));
  }

  @Override
  public void close() {
    stored.values().forEach(layer -> layer.arena().close());
    arena.close();
  }
}
