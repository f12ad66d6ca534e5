package dev.laco.prune;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import dev.laco.report.FitReport;
import dev.laco.report.PruneReport;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.SortedMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * A pruned model, not yet written: its plan, what was fitted anew, and how it was found.
 *
 * @param jobId {@link PruneJob#id}
 * @param model the original
 * @param request what was asked for
 * @param plan the model, as a plan over the original
 * @param tensors fitted anew; their memory is the job's
 * @param search how it was found; its best model is the plan
 * @param searched the search's own best model, which need not be the plan
 * @param parametersIn parameters of the original
 * @param parametersOut parameters of the pruned model
 * @param quality perplexity before and after
 * @param fit how weights were fitted; null where none were
 * @param fitLacksText whether weights should have been fitted and there was no text for that
 * @param settings what was in force, as the report tells it
 * @param device where it ran
 * @param work what the search took
 * @param timings seconds of the parts, but for writing
 * @param warnings of the job
 */
public record PruneResult(
    String jobId,
    Model model,
    PruneRequest request,
    CollapsePlan plan,
    PlanTensors tensors,
    SearchResult search,
    CollapsePlan searched,
    long parametersIn,
    long parametersOut,
    PruneReport.Quality quality,
    @Nullable FitReport fit,
    boolean fitLacksText,
    ObjectNode settings,
    String device,
    Work work,
    Timings timings,
    List<String> warnings) {
  /**
   * Seconds of a job until its result was there.
   *
   * @param load model, texts, device
   * @param productRates operations a second of the device's matrix products, by their type
   */
  public record Timings(
      double load, double search, double total, SortedMap<String, Double> productRates) {}

  /** Which of the original's layers are kept, merged and removed. */
  public KeptLayers layers() {
    return KeptLayers.of(plan);
  }

  /**
   * The report of the job.
   *
   * @param origin by what and when it was made
   * @param written the plan as it was written, which names the file of its new tensors
   * @param writeSeconds null where nothing was written
   * @param told all warnings, those of writing included
   */
  public PruneReport report(
      PruneReport.Origin origin,
      CollapsePlan written,
      @Nullable Double writeSeconds,
      List<String> told) {
    return new PruneReport(
        origin,
        jobId,
        request.toJson(),
        original(),
        settings,
        device,
        search.withBest(written, search.score()),
        parametersIn,
        parametersOut,
        quality,
        fit,
        work,
        told,
        new PruneReport.Timings(
            timings.load,
            timings.search,
            writeSeconds,
            timings.total + (writeSeconds == null ? 0 : writeSeconds),
            timings.productRates));
  }

  /** The model, as the report tells it. */
  private PruneReport.Original original() {
    return new PruneReport.Original(
        model.directory().toString(),
        model.config().architecture().className(),
        model.config().architecture().modelType(),
        Model.dtypes(model.checkpoint()),
        model.checkpoint().totalBytes(),
        model.checkpoint().digest());
  }

  /**
   * Writes the pruned checkpoint, in one rename once it is complete and verified.
   *
   * @param out a folder that does not exist, is empty, or may be replaced
   * @param warnings told of what a user should know and does not end the work
   * @throws dev.laco.UsageException if the folder may not be written to
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   */
  public void writeTo(Path out, WriteSettings settings, Consumer<String> warnings)
      throws IOException {
    applier(settings, warnings).write(out, settings.overwrite(), bytes -> {}, () -> {});
  }

  /** What writes the checkpoint. */
  public PlanApplier applier(WriteSettings settings, Consumer<String> warnings) {
    return new PlanApplier(model.checkpoint(), plan, tensors, settings.maxShardBytes(), warnings);
  }
}
