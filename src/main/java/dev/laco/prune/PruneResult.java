package dev.laco.prune;

import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.report.PruneReport;
import java.nio.file.Path;
import java.util.function.Consumer;

/**
 * A pruned model, not yet written: its plan over the original, the tensors that were fitted, and
 * the report of the job. It can be used until its job is closed.
 */
public final class PruneResult {
  private final PruneJob job;
  private final PlanTensors tensors;
  private final CollapsePlan searched;
  private final boolean fitLacksText;
  private final PruneReport report;

  PruneResult(
      PruneJob job,
      PlanTensors tensors,
      CollapsePlan searched,
      boolean fitLacksText,
      PruneReport report) {
    this.job = job;
    this.tensors = tensors;
    this.searched = searched;
    this.fitLacksText = fitLacksText;
    this.report = report;
  }

  /** The pruned model, as a plan over the original. */
  public CollapsePlan plan() {
    return report.plan();
  }

  /** The tensors that were fitted. */
  public PlanTensors tensors() {
    return tensors;
  }

  /** Layers of the original that are kept, merged and removed. */
  public KeptLayers layers() {
    return report.layers();
  }

  /** The best model of the search, which is not the result where a fit chose another one. */
  public CollapsePlan searched() {
    return searched;
  }

  /** Whether weights should have been fitted and were not, for want of a text. */
  public boolean fitLacksText() {
    return fitLacksText;
  }

  /** What the job did. */
  public PruneReport report() {
    return report;
  }

  /**
   * Writes the pruned checkpoint, which appears in one step once it is complete and verified. The
   * job's listener is told of it; a job that is cancelled meanwhile leaves nothing of it.
   *
   * @param out a folder, or a file of a name {@code .gguf}, that does not exist, is empty, or may
   *     be replaced
   * @return the report, with the seconds that writing took
   * @throws dev.laco.UsageException if the folder may not be written to
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   * @throws dev.laco.CancelledException if the job was cancelled
   */
  public PruneReport writeTo(Path out, WriteSettings settings) {
    return writeTo(out, settings.overwrite(), applier(out, settings), report -> {});
  }

  /**
   * Writes the pruned checkpoint, likewise, by an applier that another thread may tell to {@link
   * PlanApplier#giveUp}.
   *
   * @param overwrite whether a checkpoint that is there is replaced
   * @param applier {@link #applier}
   * @param beforeItAppears is given the report when the checkpoint is complete and verified, before
   *     the checkpoint appears under its name; if it fails, so does the write
   */
  public PruneReport writeTo(
      Path out, boolean overwrite, PlanApplier applier, Consumer<PruneReport> beforeItAppears) {
    return job.write(this, out, overwrite, applier, beforeItAppears);
  }

  /**
   * What writes the checkpoint to {@code out}; its warnings are the job's.
   *
   * @throws dev.laco.UsageException if the settings ask for what {@code out} cannot be
   * @throws dev.laco.BadInputException if a GGUF file cannot hold the pruned model
   */
  public PlanApplier applier(Path out, WriteSettings settings) {
    return job.applier(this, out, settings);
  }
}
