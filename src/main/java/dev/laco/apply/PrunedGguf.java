package dev.laco.apply;

import dev.laco.BadInputException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WrittenSizes;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.export.GgufFile;
import dev.laco.checkpoint.export.GgufPatch;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.GgufNames;
import dev.laco.model.GgufWeight;
import dev.laco.model.ModelConfig;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.LongConsumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * A pruned model as a GGUF file: of a GGUF file one whose unchanged tensors keep their bytes, of a
 * folder one as llama.cpp's converter writes it.
 */
final class PrunedGguf implements PrunedFiles {
  private static final String NAME = "model.gguf";

  private final CollapsePlan plan;
  private final PrunedTensors tensors;
  private final ModelConfig config;
  private final GgufFile file;

  /**
   * Prepares the file.
   *
   * @param plan that names its source as the model is now
   * @param warnings is told, a line each, what the user should know and does not end the work
   */
  PrunedGguf(
      Checkpoint model,
      CollapsePlan plan,
      PlanTensors newTensors,
      OutputFormat.Gguf format,
      Consumer<String> warnings) {
    this.plan = plan;
    this.tensors = new PrunedTensors(model, plan, newTensors, null);
    this.config = ModelConfig.parse(model.configName(), PlanApplier.config(model, plan));
    this.file =
        model.gguf() == null
            ? new GgufExport(model, config, tensors, typeFor(model, format), warnings)
            : new GgufPatch(
                model,
                model.gguf(),
                plan.layers().stream().map(LayerMix::base).toList(),
                config,
                tensors,
                format.type(),
                warnings);
  }

  /**
   * Refuses a model of which no GGUF file can be made.
   *
   * @param fewest layers that may be left
   * @param most layers that may be left
   * @throws BadInputException if llama.cpp computes none of the models that may be made; where
   *     layers differ, those that are left decide, and only what does not depend on them is looked
   *     at
   */
  static void require(Checkpoint model, int fewest, int most) {
    ModelConfig config = model.config();
    if (model.gguf() == null) {
      GgufExport.requireTokenizer(model);
    }
    boolean alike = Set.copyOf(config.attention()).size() == 1 && config.whyNoMerge() == null;
    if (!alike && fewest < config.numHiddenLayers()) {
      GgufFile.requireOfAnyLayers(model);
      return;
    }
    BadInputException refused = null;
    for (int depth = most; depth >= fewest; depth--) {
      List<Integer> kept = IntStream.range(0, depth).boxed().toList();
      try {
        GgufFile.require(model, config(model, kept));
        return;
      } catch (BadInputException e) {
        refused = refused == null ? e : refused;
      }
    }
    if (refused != null) {
      throw refused;
    }
  }

  private static ModelConfig config(Checkpoint model, List<Integer> kept) {
    return model.configOf(ConfigRewriter.rewrite(model.configName(), model.configJson(), kept));
  }

  /** The type of matrices in a file that is made of a folder. */
  private static GgufType typeFor(Checkpoint model, OutputFormat.Gguf format) {
    return format.type() == null ? GgufExport.exact(model.matrixType()) : format.type();
  }

  /**
   * The most bytes that the tensors take.
   *
   * @param newWeights whether weights of layers may be computed, and not all be the original's
   */
  static WrittenSizes sizes(Checkpoint model, OutputFormat.Gguf format, boolean newWeights) {
    return model.gguf() == null
        ? GgufExport.sizes(model, typeFor(model, format), newWeights)
        : GgufPatch.sizes(model, model.gguf(), format.type(), newWeights);
  }

  @Override
  public CollapsePlan plan() {
    return plan;
  }

  @Override
  public long tensorBytes() {
    return file.tensorBytes();
  }

  @Override
  public String types() {
    return file.types();
  }

  @Override
  public long bytes() {
    return file.fileBytes();
  }

  @Override
  public void write(Path folder, LongConsumer progress) {
    file.write(folder.resolve(NAME), progress);
  }

  @Override
  public void verify(Path folder) {
    try (Checkpoint written = Checkpoint.open(folder.resolve(NAME))) {
      String difference = GgufDifference.of(config, written.config());
      if (difference != null) {
        throw new BadInputException(
            "the metadata are not those of the pruned model: " + difference);
      }
      // The family that is read from the file may have other names for the same tensors.
      Set<String> computed =
          GgufNames.all(config).stream()
              .filter(held -> weights(held).anyMatch(tensors::isComputed))
              .map(GgufWeight::name)
              .collect(Collectors.toUnmodifiableSet());
      GgufNames.all(written.config()).stream()
          .filter(held -> computed.contains(held.name()))
          .flatMap(PrunedGguf::weights)
          .distinct()
          .forEach(written::requireFinite);
    }
  }

  private static Stream<String> weights(GgufWeight held) {
    return held.rows().stream().map(GgufWeight.Rows::weight);
  }

  @Override
  public void commit(StagedDirectory staged) {
    staged.commitFile(NAME, Replaceable::requireGguf);
  }
}
