package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.ShardedWriter;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.Architecture;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.HuggingFaceJson;
import dev.laco.model.Loader;
import dev.laco.model.ModelConfig;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/** A pruned model as a folder of Hugging Face's layout. */
final class PrunedFolder implements PrunedFiles {
  private static final int CARD_BEGIN = 1 << 16;

  private final PrunedTensors tensors;
  private final List<CompanionFiles.Companion> companions;
  private final CollapsePlan plan;
  private final @Nullable String types;
  private final byte[] config;
  private final byte[] card;
  private final ShardedWriter weights;

  /**
   * Prepares the files.
   *
   * @param plan that names its source as the model is now
   * @param warnings is told of files that are left out
   */
  PrunedFolder(
      Checkpoint model,
      CollapsePlan plan,
      PlanTensors newTensors,
      OutputFormat.Folder format,
      Consumer<String> warnings) {
    this.companions = CompanionFiles.of(model, warnings);
    this.tensors = new PrunedTensors(model, plan, newTensors, format.dtype());
    this.weights = new ShardedWriter(tensors.all(), format.maxShardBytes());
    this.plan =
        new CollapsePlan(
            plan.source(),
            plan.layers(),
            tensors.newTensors().named(weights.container()),
            plan.products(),
            plan.results());
    ObjectNode rewritten = PlanApplier.config(model, plan);
    ModelConfig pruned = model.configOf(rewritten);
    warnOfLoaders(model, pruned, warnings);
    this.card =
        ModelCard.of(
                this.plan,
                pruned,
                originalCard(companions),
                format.options(weights.totalFileSize()))
            .getBytes(UTF_8);
    if (format.dtype() != null) {
      String key = rewritten.has("dtype") ? "dtype" : "torch_dtype";
      rewritten.put(key, format.dtype().torchName());
    }
    this.types = format.dtype() == null ? null : "all weights " + format.dtype().shortName();
    this.config = HuggingFaceJson.write(rewritten).getBytes(UTF_8);
  }

  /** Tells of programs that run the original as its config describes it, and not the result. */
  private static void warnOfLoaders(
      Checkpoint model, ModelConfig pruned, Consumer<String> warnings) {
    Architecture family = pruned.architecture();
    for (Loader loader : Loader.values()) {
      String why = family.whyNot(loader, pruned);
      if (why != null && family.whyNot(loader, model.config()) == null) {
        warnings.accept(loader + " " + why);
      }
    }
  }

  /** The begin of the original's card, which has the front matter; empty if there is no card. */
  private static String originalCard(List<CompanionFiles.Companion> companions) {
    for (CompanionFiles.Companion companion : companions) {
      Path source = companion.source();
      if (source != null && companion.name().endsWith(ModelCard.ORIGINAL)) {
        try (InputStream card = Files.newInputStream(source, LinkOption.NOFOLLOW_LINKS)) {
          return new String(card.readNBytes(CARD_BEGIN), UTF_8);
        } catch (IOException e) {
          throw new BadInputException(source + ": cannot be read: " + e.getMessage(), e);
        }
      }
    }
    return "";
  }

  @Override
  public CollapsePlan plan() {
    return plan;
  }

  @Override
  public long tensorBytes() {
    return tensors.all().stream().mapToLong(OutputTensor::byteSize).sum();
  }

  @Override
  public @Nullable String types() {
    return types;
  }

  @Override
  public long bytes() {
    return weights.totalFileSize()
        + planText().length
        + card.length
        + config.length
        + companions.stream().mapToLong(CompanionFiles.Companion::size).sum();
  }

  private byte[] planText() {
    return plan.toJsonText().getBytes(UTF_8);
  }

  @Override
  public void write(Path folder, LongConsumer progress) {
    weights.write(folder, progress);
    for (CompanionFiles.Companion companion : companions) {
      companion.writeInto(folder);
    }
    OutputFiles.write(folder.resolve(ModelCard.FILE), card);
    OutputFiles.write(folder.resolve(PlanApplier.PLAN), planText());
    // The config is written last: without it no loader takes the folder for a model.
    OutputFiles.write(folder.resolve(Checkpoint.CONFIG), config);
  }

  @Override
  public void verify(Path folder) {
    try (Checkpoint written = Checkpoint.open(folder)) {
      PlanTensors.beside(folder.resolve(PlanApplier.PLAN), plan).close();
      ConfigRewriter.requireDepth(Checkpoint.CONFIG, written.configJson(), plan.depth());
      if (written.tensors().size() != tensors.all().size()) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%d tensors were written, %d are there",
                tensors.all().size(),
                written.tensors().size()));
      }
      for (OutputTensor tensor : tensors.all()) {
        var info = written.file(tensor.name()).info(tensor.name());
        if (info.type().dtype() != tensor.dtype() || !info.shape().equals(tensor.shape())) {
          throw new BadInputException(
              String.format(
                  Locale.ROOT, "tensor '%s' is %s %s", tensor.name(), info.type(), info.shape()));
        }
        // The others were copied from file to file.
        if (tensors.isComputed(tensor.name())) {
          written.requireFinite(tensor.name());
        }
      }
    }
  }

  @Override
  public void commit(StagedDirectory staged) {
    staged.commit();
  }
}
