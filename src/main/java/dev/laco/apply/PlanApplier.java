package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.CancelledException;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.ShardedWriter;
import dev.laco.collapse.Coefficients;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.Architecture;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.DType;
import dev.laco.model.HuggingFaceJson;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Makes a pruned checkpoint from a plan, the plan's new tensors, and the original. This needs no
 * device, and memory for one buffer. The bytes of the checkpoint depend only on plan, new tensors,
 * original and shard size.
 */
public final class PlanApplier {
  /** Bytes a second of a disk that are read, written and read again. */
  private static final double DISK = 300e6;

  /** The name under which the plan lies in a pruned checkpoint. */
  public static final String PLAN = "laco_plan.json";

  /** Bytes that a file system may need beside the content of files. */
  private static final long SLACK = 1L << 20;

  private static final int CARD_BEGIN = 1 << 16;

  /** More bytes than a tensor's entries in header, index and plan have. */
  private static final long HEADER_LINE = 512;

  private final Checkpoint model;
  private final CollapsePlan plan;
  private final PlanTensors newTensors;
  private final List<CompanionFiles.Companion> companions;
  private final List<OutputTensor> tensors;
  private final byte[] config;
  private final byte[] card;
  private final ShardedWriter weights;
  private final Consumer<String> warnings;

  /** The folder that is being written, for the thread that gives the write up. */
  private volatile @Nullable StagedDirectory staged;

  private volatile boolean givenUp;

  /**
   * Prepares the files; writes nothing yet.
   *
   * @param newTensors the plan's new tensors, which must stay open as long as this object is used
   * @param maxShardSize most bytes of a weight file
   * @param warnings is told, a line each, what the user should know and does not end the work
   * @throws BadInputException if the plan is for another model, the config holds a key that cannot
   *     be re-indexed, or a new tensor is not one of the pruned model
   */
  public PlanApplier(
      Checkpoint model,
      CollapsePlan plan,
      PlanTensors newTensors,
      long maxShardSize,
      Consumer<String> warnings) {
    CollapsePlan.Source source = source(model);
    requireFor(model, plan.source(), source, warnings);
    this.model = model;
    this.newTensors = newTensors;
    this.warnings = warnings;
    this.companions = CompanionFiles.of(model, warnings);
    this.tensors = newTensors.replaceIn(tensors(model, plan));
    this.weights = new ShardedWriter(tensors, maxShardSize);
    this.plan =
        new CollapsePlan(
            source, plan.layers(), newTensors.named(weights.container()), plan.products());
    this.card = ModelCard.of(plan(), originalCard(companions)).getBytes(UTF_8);
    ObjectNode rewritten =
        ConfigRewriter.rewrite(
            model.configName(),
            model.configJson(),
            plan.layers().stream().map(LayerMix::base).toList());
    this.config = HuggingFaceJson.write(rewritten).getBytes(UTF_8);
  }

  /** The begin of the original's card, which has the front matter; empty if there is no card. */
  private static String originalCard(List<CompanionFiles.Companion> companions) {
    for (CompanionFiles.Companion companion : companions) {
      Path source = companion.source();
      if (source != null && companion.name().equals(ModelCard.ORIGINAL)) {
        try (InputStream card = Files.newInputStream(source, LinkOption.NOFOLLOW_LINKS)) {
          return new String(card.readNBytes(CARD_BEGIN), UTF_8);
        } catch (IOException e) {
          throw new BadInputException(source + ": cannot be read: " + e.getMessage(), e);
        }
      }
    }
    return "";
  }

  /** The properties of a model by which a plan names it. */
  public static CollapsePlan.Source source(Checkpoint model) {
    ModelConfig config = model.config();
    return new CollapsePlan.Source(
        config.architecture().className(),
        config.numHiddenLayers(),
        model.digest(),
        model.weightsDigest());
  }

  private static void requireFor(
      Checkpoint model,
      CollapsePlan.Source planned,
      CollapsePlan.Source found,
      Consumer<String> warnings) {
    String difference = difference(planned, found);
    if (difference != null) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "the plan is for another model than %s: %s",
              model.directory(),
              difference));
    }
    if (planned.weights() == null) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "the plan is of an older laco and does not say for which weights it was made: only shapes and config were compared with %s",
              model.directory()));
    }
  }

  private static @Nullable String difference(
      CollapsePlan.Source planned, CollapsePlan.Source found) {
    if (!planned.architecture().equals(found.architecture())
        || planned.layers() != found.layers()) {
      return String.format(
          Locale.ROOT,
          "it is for a %s of %d layers, this one is a %s of %d",
          planned.architecture(),
          planned.layers(),
          found.architecture(),
          found.layers());
    }
    if (!planned.digest().equals(found.digest())) {
      return String.format(
          Locale.ROOT,
          "architecture and layers are the same, but config or tensor table are not: it is for %s, this one is %s",
          planned.digest(),
          found.digest());
    }
    if (planned.weights() != null && !planned.weights().equals(found.weights())) {
      return String.format(
          Locale.ROOT,
          "the checkpoint has the same shapes but other weights: it is for %s, these are %s",
          planned.weights(),
          found.weights());
    }
    return null;
  }

  /**
   * Checks before any work that a folder can be written.
   *
   * @param warnings is told of files that runs that died seem to have left there and that are not
   *     removed
   * @throws UsageException if the folder is the model's, or inside it or around it; if it is not a
   *     folder; or if it is not empty and may not be replaced
   * @throws ResourceException if nothing can be written there
   */
  public static void checkTarget(
      Checkpoint model, Path out, boolean overwrite, Consumer<String> warnings) {
    Target.resolve(model, out, overwrite, warnings);
  }

  /**
   * The most bytes that a pruned checkpoint of {@code depth} layers takes, each layer counted as
   * large as the largest.
   */
  public static long mostBytes(Checkpoint model, int depth) {
    long inLayers = 0;
    long largest = 0;
    for (int layer = 0; layer < model.config().numHiddenLayers(); layer++) {
      long bytes = model.layerBytes(layer);
      inLayers += bytes;
      largest = Math.max(largest, bytes);
    }
    return model.weightBytes()
        - inLayers
        + depth * largest
        + HEADER_LINE * model.tensors().size()
        + sizes(CompanionFiles.of(model, warning -> {}))
        + SLACK;
  }

  /** The plan as it lies in the pruned checkpoint. */
  public CollapsePlan plan() {
    return plan;
  }

  /** About how many seconds it takes to write so many bytes, and to read them twice. */
  public static double estimatedSeconds(long bytes) {
    return bytes / DISK;
  }

  /** Bytes of all tensors of the pruned model. */
  public long tensorBytes() {
    return tensors.stream().mapToLong(OutputTensor::byteSize).sum();
  }

  /**
   * Writes and verifies the checkpoint, as {@link #write(Path, boolean, LongConsumer, Runnable)}
   * does, with nothing to run before it gets its name.
   */
  public void write(Path out, boolean overwrite, LongConsumer progress) {
    write(out, overwrite, progress, () -> {});
  }

  /**
   * Writes and verifies the checkpoint. It appears under its name in one step, complete; after a
   * failure there is nothing, or, with {@code overwrite}, what was there before.
   *
   * @param overwrite whether an existing checkpoint may be replaced
   * @param progress is told from time to time how many further bytes of tensors were written
   * @param beforeCommit runs when everything was written and verified, before the checkpoint gets
   *     its name; if it fails, the write fails
   * @throws UsageException as {@link #checkTarget}
   * @throws BadInputException if the model's files changed or cannot be read, or a mix overflows
   * @throws ResourceException if the disk is full or cannot be written
   * @throws CancelledException if another thread gave up the write
   */
  public void write(Path out, boolean overwrite, LongConsumer progress, Runnable beforeCommit) {
    Path target = Target.resolve(model, out, overwrite, warnings);
    try (StagedDirectory folder = StagedDirectory.create(target, overwrite, warnings)) {
      staged = folder;
      requireWanted();
      fillAndCommit(folder, out, progress, beforeCommit);
    } catch (RuntimeException e) {
      // The write failed because another thread removed its files.
      requireWanted();
      throw e;
    }
  }

  /**
   * Ends a write that runs on another thread, and removes the files that it wrote. The other thread
   * gets a {@link CancelledException} some time later. A checkpoint that has its name by then
   * stays.
   */
  public void giveUp() {
    givenUp = true;
    StagedDirectory folder = staged;
    if (folder != null) {
      folder.close();
    }
  }

  private void requireWanted() {
    if (givenUp) {
      throw new CancelledException();
    }
  }

  private void fillAndCommit(
      StagedDirectory staged, Path out, LongConsumer progress, Runnable beforeCommit) {
    long needed = neededBytes();
    requireSpace(out, staged.path(), needed);
    try {
      fill(staged.path(), progress);
    } catch (ResourceException e) {
      // The message names the target, since the user does not know the staging folder.
      String message = e.template().replace(staged.path().toString(), out.toString());
      throw new ResourceException(
          String.format(Locale.ROOT, "%s; %s needs %d bytes in all", message, out, needed), e);
    }
    verify(staged.path());
    model.requireIntact();
    beforeCommit.run();
    staged.commit();
  }

  private void fill(Path folder, LongConsumer progress) {
    weights.write(folder, progress);
    for (CompanionFiles.Companion companion : companions) {
      companion.writeInto(folder);
    }
    OutputFiles.write(folder.resolve(ModelCard.FILE), card);
    OutputFiles.write(folder.resolve(PLAN), planText());
    // The config is written last: without it no loader takes the folder for a model.
    OutputFiles.write(folder.resolve(Checkpoint.CONFIG), config);
  }

  private byte[] planText() {
    return plan.toJsonText().getBytes(UTF_8);
  }

  private long neededBytes() {
    return weights.totalFileSize()
        + planText().length
        + card.length
        + config.length
        + sizes(companions)
        + SLACK;
  }

  private static long sizes(List<CompanionFiles.Companion> companions) {
    return companions.stream().mapToLong(CompanionFiles.Companion::size).sum();
  }

  private static void requireSpace(Path out, Path folder, long needed) {
    long free = OutputFiles.freeBytes(folder);
    if (needed > free) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%s: needs %d bytes but %d are free on its file system; free some space or choose another place",
              out,
              needed,
              free));
    }
  }

  private static List<OutputTensor> tensors(Checkpoint model, CollapsePlan plan) {
    ModelConfig config = model.config();
    Architecture architecture = config.architecture();
    List<OutputTensor> tensors = new ArrayList<>();
    tensors.add(copy(model, architecture.embedding(), architecture.embedding()));
    for (int i = 0; i < plan.depth(); i++) {
      LayerMix mix = plan.layers().get(i);
      for (TensorSpec spec : architecture.layerTensors(config, mix.base())) {
        tensors.add(layerTensor(model, architecture, i, mix, spec));
      }
    }
    for (String norm : architecture.finalNormTensors()) {
      tensors.add(copy(model, norm, norm));
    }
    if (!config.tieWordEmbeddings()) {
      tensors.add(copy(model, architecture.head(), architecture.head()));
    }
    return List.copyOf(tensors);
  }

  private static OutputTensor layerTensor(
      Checkpoint model, Architecture architecture, int index, LayerMix mix, TensorSpec spec) {
    String name = architecture.tensorName(index, spec);
    // A mixed tensor has the type of the base's tensor.
    DType dtype = dtype(model, architecture.tensorName(mix.base(), spec));
    Coefficients coefficients = mix.of(spec.group());
    List<String> sources =
        coefficients.terms().keySet().stream()
            .map(layer -> architecture.tensorName(layer, spec))
            .toList();
    if (isCopy(model, mix, spec)) {
      return copy(model, name, sources.getFirst());
    }
    return new OutputTensor(
        name,
        dtype,
        spec.shape(),
        target -> {
          model.prefetch(sources);
          new TensorMixer(
                  name,
                  dtype,
                  List.copyOf(coefficients.terms().values()),
                  sources.stream().map(model::tensor).toList())
              .writeTo(target);
          sources.forEach(model::giveUp);
        });
  }

  /** Whether a tensor of a layer is an original's tensor, byte for byte. */
  private static boolean isCopy(Checkpoint model, LayerMix mix, TensorSpec spec) {
    Coefficients coefficients = mix.of(spec.group());
    Architecture architecture = model.config().architecture();
    String source = architecture.tensorName(coefficients.terms().firstKey(), spec);
    String base = architecture.tensorName(mix.base(), spec);
    return coefficients.isCopy() && dtype(model, source) == dtype(model, base);
  }

  private static OutputTensor copy(Checkpoint model, String name, String source) {
    OutputTensor copy = OutputTensor.copy(name, model.file(source), source);
    return new OutputTensor(
        name,
        copy.dtype(),
        copy.shape(),
        target -> {
          model.requireFinite(source);
          copy.content().writeTo(target);
          model.giveUp(source);
        });
  }

  private static DType dtype(Checkpoint model, String name) {
    return model.placeOf(name).dtype();
  }

  /**
   * Opens the written folder as a loader would, and compares its tensors with those that the plan
   * implies.
   */
  private void verify(Path folder) {
    try (Checkpoint written = Checkpoint.open(folder)) {
      PlanTensors.beside(folder.resolve(PLAN), plan).close();
      ConfigRewriter.requireDepth(Checkpoint.CONFIG, written.configJson(), plan.depth());
      if (written.tensors().size() != tensors.size()) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%d tensors were written, %d are there",
                tensors.size(),
                written.tensors().size()));
      }
      for (OutputTensor tensor : tensors) {
        var info = written.file(tensor.name()).info(tensor.name());
        if (info.type().dtype() != tensor.dtype() || !info.shape().equals(tensor.shape())) {
          throw new BadInputException(
              String.format(
                  Locale.ROOT, "tensor '%s' is %s %s", tensor.name(), info.type(), info.shape()));
        }
      }
      verifyComputed(written);
    } catch (BadInputException e) {
      throw new ResourceException(
          "what was written cannot be read back as a model: " + e.template(), e);
    }
  }

  /**
   * Reads back and compares the tensors that were computed; the other tensors were copied from file
   * to file.
   */
  private void verifyComputed(Checkpoint written) {
    Architecture architecture = model.config().architecture();
    for (int i = 0; i < plan.depth(); i++) {
      LayerMix mix = plan.layers().get(i);
      for (TensorSpec spec : architecture.layerTensors(model.config(), mix.base())) {
        if (!isCopy(model, mix, spec)) {
          written.requireFinite(architecture.tensorName(i, spec));
        }
      }
    }
    newTensors.weights().tensors().keySet().forEach(written::requireFinite);
  }
}
