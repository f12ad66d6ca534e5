package dev.laco.apply;

import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.WeightReader;
import dev.laco.checkpoint.export.ModelWeights;
import dev.laco.collapse.Coefficients;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The tensors of a pruned model: those of the original that stay, mixes of them, and the plan's new
 * tensors.
 */
final class PrunedTensors implements ModelWeights {
  private final Checkpoint model;
  private final @Nullable DType type;
  private final PlanTensors newTensors;
  private final List<OutputTensor> tensors;

  /** For tensors that are an original's, its name. */
  private final Map<String, String> copies = new HashMap<>();

  /** What computes the tensors that are mixed or converted. */
  private final Map<String, Mix> mixes = new HashMap<>();

  /**
   * Lays out the tensors.
   *
   * @param type of all tensors; null for that of the original's tensor in the same place
   * @throws dev.laco.BadInputException if a new tensor is not one of the pruned model
   */
  PrunedTensors(Checkpoint model, CollapsePlan plan, PlanTensors newTensors, @Nullable DType type) {
    this.model = model;
    this.type = type;
    this.newTensors = type == null ? newTensors : newTensors.as(type);
    ModelConfig config = model.config();
    Architecture architecture = config.architecture();
    List<OutputTensor> planned = new ArrayList<>();
    planned.add(outside(architecture.embedding()));
    for (int i = 0; i < plan.depth(); i++) {
      LayerMix mix = plan.layers().get(i);
      for (TensorSpec spec : architecture.layerTensors(config, mix.base())) {
        planned.add(layerTensor(architecture, i, mix, spec));
      }
    }
    architecture.finalNormTensors().forEach(norm -> planned.add(outside(norm)));
    if (!config.tieWordEmbeddings()) {
      planned.add(outside(architecture.head()));
    }
    for (String name : model.besideNames()) {
      planned.add(outside(name, architecture.nameBeside(name, config, plan.depth())));
    }
    this.tensors = this.newTensors.replaceIn(planned);
  }

  /** The linear combination that a tensor is. */
  private record Mix(DType dtype, List<Double> coefficients, List<String> sources) {
    TensorMixer mixer(String name, WeightReader model) {
      return new TensorMixer(
          name, dtype, coefficients, sources.stream().map(model::tensor).toList());
    }
  }

  private OutputTensor outside(String name) {
    return outside(name, name);
  }

  private OutputTensor outside(String name, String newName) {
    return tensor(
        newName, dtype(name), model.file(name).info(name).shape(), Coefficients.of(0), name);
  }

  private OutputTensor layerTensor(
      Architecture architecture, int index, LayerMix mix, TensorSpec spec) {
    Coefficients coefficients = mix.of(spec.group());
    return tensor(
        architecture.tensorName(index, spec),
        // A mixed tensor has the type of the base's tensor.
        dtype(architecture.tensorName(mix.base(), spec)),
        spec.shape(),
        coefficients,
        coefficients.terms().keySet().stream()
            .map(layer -> architecture.tensorName(layer, spec))
            .toArray(String[]::new));
  }

  private OutputTensor tensor(
      String name, DType usual, List<Long> shape, Coefficients coefficients, String... sources) {
    DType dtype = Objects.requireNonNullElse(type, usual);
    if (coefficients.isCopy() && dtype(sources[0]) == dtype) {
      copies.put(name, sources[0]);
      return copy(name, sources[0]);
    }
    Mix mix = new Mix(dtype, List.copyOf(coefficients.terms().values()), List.of(sources));
    mixes.put(name, mix);
    return new OutputTensor(
        name,
        dtype,
        shape,
        target -> {
          try (WeightReader reader = model.reader()) {
            reader.prefetch(mix.sources);
            mix.mixer(name, reader).writeTo(target);
            mix.sources.forEach(reader::giveUp);
          }
        });
  }

  private OutputTensor copy(String name, String source) {
    OutputTensor copy = OutputTensor.copy(name, model.file(source), source);
    return new OutputTensor(
        name,
        copy.dtype(),
        copy.shape(),
        target -> {
          try (WeightReader reader = model.reader()) {
            reader.hold(source);
            model.requireFinite(source);
            copy.content().writeTo(target);
            reader.giveUp(source);
          }
        });
  }

  private DType dtype(String name) {
    return model.placeOf(name).dtype();
  }

  /** All tensors, in the order of a forward pass. */
  List<OutputTensor> all() {
    return tensors;
  }

  /** The plan's new tensors, in the type in which they are written. */
  PlanTensors newTensors() {
    return newTensors;
  }

  /** Whether a tensor is computed: not an original's tensor, byte for byte. */
  boolean isComputed(String name) {
    return original(name) == null;
  }

  @Override
  public @Nullable String original(String name) {
    return newTensors.weights().find(name) == null ? copies.get(name) : null;
  }

  @Override
  public void use(String name, Use use) throws IOException {
    HostTensor computed = newTensors.weights().find(name);
    Mix mix = mixes.get(name);
    if (computed != null) {
      use.of(computed);
    } else if (mix != null) {
      List<Long> shape = model.file(mix.sources.getFirst()).info(mix.sources.getFirst()).shape();
      try (Arena arena = Arena.ofShared();
          WeightReader reader = model.reader()) {
        MemorySegment data = mix.mixer(name, reader).mix(arena);
        use.of(new HostTensor(name, mix.dtype, shape, data));
        mix.sources.forEach(reader::giveUp);
      }
    } else {
      String source = Objects.requireNonNull(copies.get(name), name);
      try (WeightReader reader = model.reader()) {
        use.of(reader.tensor(source));
        reader.giveUp(source);
      }
    }
  }
}
