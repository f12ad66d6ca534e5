package dev.laco.apply;

import dev.laco.BadInputException;
import dev.laco.ResourceException;
import dev.laco.checkpoint.NamedTensors;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.checkpoint.Sha256;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapsePlan.NewTensors;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.NonFinite;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * The new tensors of a plan, in memory or in a file. The file is a safetensors file of these
 * tensors beside the plan; for the plan inside a pruned checkpoint it is the checkpoint's weight
 * file or index. The hash of the tensors is the hash of the file that has them alone. That file can
 * be written in one way only, so that equal tensors have equal hashes wherever they lie.
 */
public final class PlanTensors implements AutoCloseable {
  /** The name of the file that holds the tensors in a checkpoint whose weights are one file. */
  public static final String DEFAULT_FILE = "model.safetensors";

  private final NewWeights weights;
  private final @Nullable NamedTensors files;
  private final SafetensorsWriter writer;
  private @Nullable String sha256;

  /**
   * Tensors in memory, which {@code weights} still owns; {@link NewWeights#NONE} for a plan without
   * new tensors.
   */
  public PlanTensors(NewWeights weights) {
    this(weights, null);
  }

  private PlanTensors(NewWeights weights, @Nullable NamedTensors files) {
    this.weights = weights;
    this.files = files;
    this.writer =
        new SafetensorsWriter(weights.tensors().values().stream().map(this::output).toList());
  }

  /**
   * Opens the file that a plan names, which lies beside the plan, and checks the hash of the
   * tensors.
   *
   * @param planFile the file from which the plan was read
   * @throws BadInputException if the file is missing, lacks a tensor that the plan names, or holds
   *     other values than the plan was written with
   */
  public static PlanTensors beside(Path planFile, CollapsePlan plan) {
    NewTensors named = plan.tensors();
    if (named == null) {
      return new PlanTensors(NewWeights.NONE);
    }
    Path path = resolve(planFile, named.file());
    if (!Files.isRegularFile(path)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: is missing; %s keeps its new tensors there: copy both files together",
              path,
              planFile));
    }
    NamedTensors files = NamedTensors.open(path, named.names());
    try {
      SortedMap<String, HostTensor> found = new TreeMap<>();
      named.names().forEach(name -> found.put(name, files.file(name).tensor(name)));
      PlanTensors tensors = new PlanTensors(new NewWeights(found), files);
      if (!tensors.sha256().equals(named.sha256())) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: its tensors have sha256 %s, but %s was written with %s; copy both files together",
                path,
                tensors.sha256(),
                planFile,
                named.sha256()));
      }
      return tensors;
    } catch (RuntimeException e) {
      files.close();
      throw e;
    }
  }

  private static Path resolve(Path planFile, String name) {
    try {
      return planFile.resolveSibling(name);
    } catch (InvalidPathException e) {
      throw new BadInputException(planFile + ": tensors.file: is no name of a file here", e);
    }
  }

  /** The same tensors, rounded to a type. */
  PlanTensors as(DType dtype) {
    SortedMap<String, HostTensor> rounded = new TreeMap<>();
    weights
        .tensors()
        .forEach(
            (name, tensor) ->
                rounded.put(
                    name,
                    tensor.dtype() == dtype
                        ? tensor
                        : new HostTensor(
                            name,
                            dtype,
                            tensor.shape(),
                            new TensorMixer(name, dtype, List.of(1.0), List.of(tensor))
                                .mix(Arena.ofAuto()))));
    return new PlanTensors(new NewWeights(rounded));
  }

  /** Whether there are no tensors. */
  public boolean isEmpty() {
    return weights.isEmpty();
  }

  /** The tensors themselves. */
  public NewWeights weights() {
    return weights;
  }

  /**
   * The entry of a plan that names these tensors.
   *
   * @param name the name of the file beside the plan that holds the tensors
   * @return null if there are no tensors
   */
  public @Nullable NewTensors named(String name) {
    return weights.isEmpty()
        ? null
        : new NewTensors(name, sha256(), List.copyOf(weights.tensors().keySet()));
  }

  private String sha256() {
    if (sha256 == null) {
      Sha256 hash = new Sha256().update(writer.header());
      for (OutputTensor tensor : writer.tensors()) {
        String name = tensor.name();
        hash.update(Objects.requireNonNull(weights.find(name)).data());
        if (files != null) {
          files.file(name).giveUp(name, false);
        }
      }
      sha256 = hash.hex();
    }
    return sha256;
  }

  /** Bytes of the file that has these tensors alone; 0 if there are none. */
  public long fileSize() {
    return weights.isEmpty() ? 0 : writer.fileSize();
  }

  /**
   * Writes the file that has these tensors alone, and forces it to the disk. The file must not
   * exist.
   *
   * @throws ResourceException if the disk is full or cannot be written
   */
  public void write(Path target) {
    writer.write(target, bytes -> {});
  }

  private OutputTensor output(HostTensor tensor) {
    String name = tensor.name();
    return files == null
        ? OutputTensor.of(name, tensor.dtype(), tensor.shape(), tensor.data())
        : OutputTensor.copy(name, files.file(name), name);
  }

  /**
   * The tensors of a pruned model, in which these replace those that its mixes give.
   *
   * @throws BadInputException if a new tensor is not one of the model's, has another shape or type,
   *     or holds a value that is not finite
   */
  List<OutputTensor> replaceIn(List<OutputTensor> mixed) {
    TreeSet<String> unused = new TreeSet<>(weights.tensors().keySet());
    List<OutputTensor> result = new ArrayList<>();
    for (OutputTensor tensor : mixed) {
      HostTensor computed = weights.find(tensor.name());
      if (computed != null) {
        requireLike(tensor, computed);
        unused.remove(tensor.name());
      }
      result.add(computed == null ? tensor : output(computed));
    }
    if (!unused.isEmpty()) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s' is none of the pruned model's",
              where(unused.first()),
              unused.first()));
    }
    return List.copyOf(result);
  }

  private void requireLike(OutputTensor expected, HostTensor computed) {
    String name = computed.name();
    if (computed.dtype() != expected.dtype() || !computed.shape().equals(expected.shape())) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s' is %s %s, but the pruned model's is %s %s",
              where(name),
              name,
              computed.dtype(),
              computed.shape(),
              expected.dtype(),
              expected.shape()));
    }
    long index = NonFinite.first(computed.dtype(), computed.data());
    if (index >= 0) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s' holds NaN or infinity at element %d of %d",
              where(name),
              name,
              index,
              computed.elements()));
    }
  }

  private String where(String name) {
    return files == null ? "new tensors" : files.file(name).path().toString();
  }

  /** Closes the files that hold the tensors, if there are any. */
  @Override
  public void close() {
    if (files != null) {
      files.close();
    }
  }
}
