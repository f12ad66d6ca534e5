package dev.laco.apply;

import dev.laco.BadInputException;
import dev.laco.ResourceException;
import dev.laco.checkpoint.FiniteCheck;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsFile;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.checkpoint.Sha256;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapsePlan.NewTensors;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * The new tensors of a plan, and the safetensors file beside the plan that holds them. The file is
 * written in one way only, so that the same tensors give the same bytes, wherever they come from.
 */
public final class PlanTensors implements AutoCloseable {
  /** The name under which they lie beside {@link PlanApplier#PLAN}. */
  public static final String FILE = "laco_plan.safetensors";

  private final NewWeights weights;
  private final @Nullable SafetensorsFile file;
  private final SafetensorsWriter writer;
  private @Nullable String sha256;

  /** Tensors in memory, which stays their maker's; none of them for an ordinary plan. */
  public PlanTensors(NewWeights weights) {
    this(weights, null);
  }

  private PlanTensors(NewWeights weights, @Nullable SafetensorsFile file) {
    this.weights = weights;
    this.file = file;
    this.writer =
        new SafetensorsWriter(weights.tensors().values().stream().map(this::output).toList());
  }

  /**
   * Opens the file that a plan names, which lies beside it.
   *
   * @param planFile where the plan was read from
   * @throws BadInputException if the file is missing, is not the one that the plan was written
   *     with, or holds other tensors than the plan says
   */
  public static PlanTensors beside(Path planFile, CollapsePlan plan) {
    NewTensors named = plan.tensors();
    if (named == null) {
      return new PlanTensors(NewWeights.NONE);
    }
    Path path = resolve(planFile, named.file());
    if (!Files.isRegularFile(path)) {
      throw new BadInputException(
          "%s: is missing; %s keeps its new tensors there: copy both files together"
              .formatted(path, planFile));
    }
    String found = Sha256.of(path);
    if (!found.equals(named.sha256())) {
      throw new BadInputException(
          "%s: has sha256 %s, but %s was written with %s; copy both files together"
              .formatted(path, found, planFile, named.sha256()));
    }
    SafetensorsFile file = SafetensorsFile.open(path);
    try {
      SortedMap<String, HostTensor> tensors = new TreeMap<>();
      file.tensors().forEach(info -> tensors.put(info.name(), file.tensor(info.name())));
      requireNames(path, planFile, named, tensors);
      return new PlanTensors(new NewWeights(tensors), file);
    } catch (RuntimeException e) {
      file.close();
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

  private static void requireNames(
      Path path, Path planFile, NewTensors named, SortedMap<String, HostTensor> tensors) {
    TreeSet<String> odd = new TreeSet<>(tensors.keySet());
    odd.removeAll(named.names());
    TreeSet<String> missing = new TreeSet<>(named.names());
    missing.removeAll(tensors.keySet());
    if (!missing.isEmpty()) {
      throw new BadInputException(
          "%s: tensor '%s', which %s names, is missing".formatted(path, missing.first(), planFile));
    }
    if (!odd.isEmpty()) {
      throw new BadInputException(
          "%s: holds tensor '%s', which %s does not name".formatted(path, odd.first(), planFile));
    }
  }

  /** True if there are none, and so no file. */
  public boolean isEmpty() {
    return weights.isEmpty();
  }

  /** The tensors themselves. */
  public NewWeights weights() {
    return weights;
  }

  /**
   * What a plan says of them.
   *
   * @param name of the file beside the plan
   * @return null if there are none
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
        hash.update(Objects.requireNonNull(weights.find(tensor.name())).data());
      }
      sha256 = hash.hex();
    }
    return sha256;
  }

  /** Bytes of the file, 0 if there is none. */
  public long fileSize() {
    return weights.isEmpty() ? 0 : writer.fileSize();
  }

  /**
   * Writes the file, which must not exist, and forces it to the disk.
   *
   * @throws ResourceException if the disk is full or cannot be written
   */
  public void write(Path target) {
    writer.write(target, bytes -> {});
  }

  private OutputTensor output(HostTensor tensor) {
    return file == null
        ? OutputTensor.of(tensor.name(), tensor.dtype(), tensor.shape(), tensor.data())
        : OutputTensor.copy(tensor.name(), file, tensor.name());
  }

  /**
   * The tensors of a pruned model with these in the place of those that its mixes give.
   *
   * @throws BadInputException if one of these is not a tensor of the model, has another shape or
   *     type, or holds a value that is not finite
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
          "%s: tensor '%s' is none of the pruned model's".formatted(where(), unused.first()));
    }
    return List.copyOf(result);
  }

  private void requireLike(OutputTensor expected, HostTensor computed) {
    String name = computed.name();
    if (computed.dtype() != expected.dtype() || !computed.shape().equals(expected.shape())) {
      throw new BadInputException(
          "%s: tensor '%s' is %s %s, but the pruned model's is %s %s"
              .formatted(
                  where(),
                  name,
                  computed.dtype(),
                  computed.shape(),
                  expected.dtype(),
                  expected.shape()));
    }
    long index = FiniteCheck.firstNonFinite(computed.dtype(), computed.data());
    if (index >= 0) {
      throw new BadInputException(
          "%s: tensor '%s' holds NaN or infinity at element %d of %d"
              .formatted(where(), name, index, computed.elements()));
    }
  }

  private String where() {
    return file == null ? "new tensors" : file.path().toString();
  }

  /** Closes the file if they lie in one. */
  @Override
  public void close() {
    if (file != null) {
      file.close();
    }
  }
}
