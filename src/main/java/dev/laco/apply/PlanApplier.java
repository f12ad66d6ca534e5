package dev.laco.apply;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.CancelledException;
import dev.laco.DiskRoom;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WrittenSizes;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.ModelConfig;
import java.nio.file.Path;
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

  /** More bytes than a tokenizer takes in a GGUF file. */
  private static final long GGUF_TOKENIZER = 40L << 20;

  /** Bytes that a file system may need beside the content of files. */
  private static final long SLACK = 1L << 20;

  /** More bytes than a tensor's entries in header, index and plan have. */
  private static final long HEADER_LINE = 512;

  private final Checkpoint model;
  private final OutputFormat format;
  private final PrunedFiles files;
  private final Consumer<String> warnings;

  /** The folder that is being written, for the thread that gives the write up. */
  private volatile @Nullable StagedDirectory staged;

  private volatile boolean givenUp;

  /**
   * Prepares the files; writes nothing yet.
   *
   * @param newTensors the plan's new tensors, which must stay open as long as this object is used
   * @param warnings is told, a line each, what the user should know and does not end the work
   * @throws BadInputException if the plan is for another model, the config holds a key that cannot
   *     be re-indexed, a new tensor is not one of the pruned model, or the format cannot hold the
   *     pruned model
   */
  public PlanApplier(
      Checkpoint model,
      CollapsePlan plan,
      PlanTensors newTensors,
      OutputFormat format,
      Consumer<String> warnings) {
    CollapsePlan.Source source = source(model);
    requireFor(model, plan.source(), source, warnings);
    this.model = model;
    this.format = format;
    this.warnings = warnings;
    CollapsePlan named =
        new CollapsePlan(source, plan.layers(), null, plan.products(), plan.results());
    this.files =
        switch (format) {
          case OutputFormat.Folder folder ->
              new PrunedFolder(model, named, newTensors, folder, warnings);
          case OutputFormat.Gguf gguf -> new PrunedGguf(model, named, newTensors, gguf, warnings);
        };
  }

  /**
   * Prepares a folder whose weights have the types of the original's.
   *
   * @param maxShardSize most bytes of a weight file
   */
  public PlanApplier(
      Checkpoint model,
      CollapsePlan plan,
      PlanTensors newTensors,
      long maxShardSize,
      Consumer<String> warnings) {
    this(model, plan, newTensors, new OutputFormat.Folder(maxShardSize, null), warnings);
  }

  /** The config of a pruned model. */
  static ObjectNode config(Checkpoint model, CollapsePlan plan) {
    return ConfigRewriter.rewrite(
        model.configName(),
        model.configJson(),
        plan.layers().stream().map(LayerMix::base).toList());
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
   * Checks before any work that a folder, or a file of a name {@code .gguf}, can be written.
   *
   * @param warnings is told of files that runs that died seem to have left there and that are not
   *     removed
   * @throws UsageException if the folder is the model's, or inside it or around it; if it is not a
   *     folder; or if it is not empty and may not be replaced
   * @throws ResourceException if nothing can be written there
   */
  public static void checkTarget(
      Checkpoint model, Path out, boolean overwrite, Consumer<String> warnings) {
    if (OutputFormat.isGguf(out)) {
      checkFile(model, out, overwrite);
    } else {
      Target.resolve(model, out, overwrite, warnings);
    }
  }

  /**
   * Checks before any work that a GGUF file of any name can be written.
   *
   * @throws UsageException if the file is one of the model, or inside its folder; if something else
   *     than a file is there, or a file that may not be replaced
   * @throws ResourceException if the file cannot be written
   */
  public static void checkFile(Checkpoint model, Path out, boolean overwrite) {
    Target.resolveFile(model, out, overwrite);
  }

  /**
   * Checks before any work that a format can hold what will be made of a model.
   *
   * @param fewest layers that may be left
   * @param most layers that may be left
   * @throws BadInputException if it cannot, whichever layers are left
   */
  public static void checkFormat(Checkpoint model, int fewest, int most, OutputFormat format) {
    if (format instanceof OutputFormat.Gguf) {
      PrunedGguf.require(model, fewest, most);
    }
  }

  /** Bytes of the weights of a plan's model in a folder, in the types in which they are read. */
  public static long weightBytes(Checkpoint model, CollapsePlan plan) {
    WrittenSizes sizes = WrittenSizes.inFolder(model, null);
    return sizes.outside()
        + plan.layers().stream().mapToLong(mix -> sizes.layers().get(mix.base())).sum();
  }

  /** The most bytes that a pruned checkpoint of {@code depth} layers takes. */
  public static long mostBytes(Checkpoint model, int depth, OutputFormat format) {
    long tokenizer =
        format instanceof OutputFormat.Gguf
            ? GGUF_TOKENIZER
            : sizes(CompanionFiles.of(model, warning -> {}));
    return writtenSizes(model, format, true).most(depth)
        + HEADER_LINE * model.tensors().size()
        + tokenizer
        + SLACK;
  }

  /**
   * The most bytes that the tensors of a pruned checkpoint take.
   *
   * @param newWeights whether weights of layers may be computed, and not all be the original's
   */
  public static WrittenSizes writtenSizes(
      Checkpoint model, OutputFormat format, boolean newWeights) {
    return switch (format) {
      case OutputFormat.Folder folder -> WrittenSizes.inFolder(model, folder.dtype());
      case OutputFormat.Gguf gguf -> PrunedGguf.sizes(model, gguf, newWeights);
    };
  }

  private static long sizes(List<CompanionFiles.Companion> companions) {
    return companions.stream().mapToLong(CompanionFiles.Companion::size).sum();
  }

  /** The plan as it lies in the pruned folder; that of a GGUF file does not lie in it. */
  public CollapsePlan plan() {
    return files.plan();
  }

  /**
   * The element types of the tensors for people; null where they are those with which the original
   * is computed.
   */
  public @Nullable String types() {
    return files.types();
  }

  /** About how many seconds it takes to write so many bytes, and to read them twice. */
  public static double estimatedSeconds(long bytes) {
    return bytes / DISK;
  }

  /** Bytes of all tensors of the pruned model. */
  public long tensorBytes() {
    return files.tensorBytes();
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
    Path target =
        format instanceof OutputFormat.Gguf
            ? Target.resolveFile(model, out, overwrite)
            : Target.resolve(model, out, overwrite, warnings);
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
    long needed = files.bytes() + SLACK;
    requireSpace(out, staged.path(), needed);
    try {
      files.write(staged.path(), progress);
    } catch (ResourceException e) {
      // The message names the target, since the user does not know the staging folder.
      String message = e.template().replace(staged.path().toString(), out.toString());
      throw new ResourceException(
          String.format(Locale.ROOT, "%s; %s needs %d bytes in all", message, out, needed), e);
    }
    verify(staged.path());
    model.requireIntact();
    beforeCommit.run();
    files.commit(staged);
  }

  private void verify(Path folder) {
    try {
      files.verify(folder);
    } catch (BadInputException e) {
      throw new ResourceException(
          "what was written cannot be read back as a model: " + e.template(), e);
    }
  }

  private static void requireSpace(Path out, Path folder, long needed) {
    long free = DiskRoom.freeBytes(folder);
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
}
