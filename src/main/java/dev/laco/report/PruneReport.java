package dev.laco.report;

import dev.laco.Request;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import java.time.Instant;
import java.util.Collections;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * What a prune did. {@link ReportJson} writes it as {@code report.json}.
 *
 * @param origin by which program, when and by which command it was made
 * @param jobId the same for every job with the same request and the same weights
 * @param request what was asked for; a request file with the same JSON asks for the same
 * @param model the model that was pruned
 * @param settings the settings that the prune ran with
 * @param device the name of the device that the prune ran on
 * @param memory where the weights lay and what lay beside them, as it was planned, for people
 * @param search the trials of the search, and in the first place the pruned model
 * @param parametersIn parameters of the original, those that two tensors share counted once
 * @param parametersOut parameters of the pruned model, counted likewise
 * @param bytesOut bytes of the weights of the pruned model as it was written; where it was not,
 *     those that a folder would have without further settings
 * @param quality perplexity before and after
 * @param fit how weights were fitted; null where none were
 * @param choice how the pruned model was chosen among the best of the search; null where weights
 *     were fitted or the search's own was taken
 * @param heal how the pruned model was trained; null where it was not
 * @param work passes, bytes and operations that the search took
 * @param warnings what a user was warned of
 * @param timings seconds of the job and its parts
 */
public record PruneReport(
    Origin origin,
    String jobId,
    Request request,
    Original model,
    PruneSettings settings,
    String device,
    String memory,
    SearchResult search,
    long parametersIn,
    long parametersOut,
    long bytesOut,
    Quality quality,
    @Nullable FitReport fit,
    @Nullable ChoiceReport choice,
    @Nullable Healing heal,
    Work work,
    List<String> warnings,
    Timings timings) {
  public PruneReport {
    warnings = List.copyOf(warnings);
  }

  /**
   * By which program, when and by which command a report was made.
   *
   * @param version the version of laco
   * @param date when the job began
   * @param command arguments of the command line; empty where another program ran the job
   */
  public record Origin(String version, Instant date, List<String> command) {
    public Origin {
      command = List.copyOf(command);
    }
  }

  /**
   * The model that was pruned.
   *
   * @param path folder of the checkpoint
   * @param architecture the first of the class names in the model's config
   * @param modelType {@code model_type} of the model's config
   * @param dtype element types of the weights
   * @param bytes bytes of the weights in their files
   * @param digest digest of the config and of name, type and shape of every tensor
   */
  public record Original(
      String path,
      String architecture,
      String modelType,
      String dtype,
      long bytes,
      String digest) {}

  /** Perplexity before and after, or why there is none. */
  public sealed interface Quality {}

  /**
   * Perplexity before and after.
   *
   * @param text names the text for people
   * @param dense perplexity of the original
   * @param fidelity how near the pruned model is to the original, on the same text
   * @param byPosition their divergence by the position in a window
   * @param samples how both continue pieces of the text; empty where that was left out or there is
   *     no tokenizer
   */
  public record Measured(
      String text,
      Perplexity dense,
      Fidelity fidelity,
      List<PositionDivergence> byPosition,
      List<Sample> samples)
      implements Quality {
    public Measured {
      byPosition = List.copyOf(byPosition);
      samples = List.copyOf(samples);
    }

    /** Perplexity of the pruned model. */
    public Perplexity pruned() {
      return fidelity.perplexity();
    }
  }

  /**
   * Perplexity was not measured.
   *
   * @param reason why
   */
  public record NotMeasured(String reason) implements Quality {}

  /**
   * How a pruned model was trained, and what every stage of the job gained.
   *
   * @param training the training
   * @param stages the stages that changed the model, each with the model that it left
   */
  public record Healing(TrainingReport training, List<Stage> stages) {
    public Healing {
      stages = List.copyOf(stages);
    }
  }

  /**
   * A stage of a job that changed the model.
   *
   * @param name of the stage
   * @param seconds that it took
   * @param nll of the model that it left, on the held-out part of the training's text, nats a token
   */
  public record Stage(String name, double seconds, double nll) {}

  /**
   * Seconds of a job and its parts.
   *
   * @param load seconds until model, texts and device were there
   * @param search seconds of the search
   * @param write seconds of writing the checkpoint; null where none was written
   * @param total seconds of all, until the report was made
   * @param productRates operations a second of the device's matrix products, by their type
   */
  public record Timings(
      double load,
      double search,
      @Nullable Double write,
      double total,
      SortedMap<String, Double> productRates) {
    public Timings {
      productRates = Collections.unmodifiableSortedMap(new TreeMap<>(productRates));
    }
  }

  /** The pruned model, as a plan over the original. */
  public CollapsePlan plan() {
    return search.plan();
  }

  /** Layers of the original that the pruned model keeps, merges and removes. */
  public KeptLayers layers() {
    return KeptLayers.of(plan());
  }

  /** The same report, made by another program or command, with all that its user was warned of. */
  public PruneReport madeBy(Origin other, List<String> allWarnings) {
    return new PruneReport(
        other,
        jobId,
        request,
        model,
        settings,
        device,
        memory,
        search,
        parametersIn,
        parametersOut,
        bytesOut,
        quality,
        fit,
        choice,
        heal,
        work,
        allWarnings,
        timings);
  }

  /** The same report with the plan as it was written, which names the file of its new tensors. */
  public PruneReport withPlan(CollapsePlan written) {
    return with(search.withBest(written, search.score()), bytesOut, warnings, timings);
  }

  /**
   * The same report after the checkpoint was written.
   *
   * @param plan the plan as it was written
   * @param bytes bytes of the weights that were written
   * @param seconds seconds that writing took
   * @param allWarnings what a user was warned of, while it was written too
   */
  public PruneReport written(
      CollapsePlan plan, long bytes, double seconds, List<String> allWarnings) {
    return with(
        search.withBest(plan, search.score()),
        bytes,
        allWarnings,
        new Timings(
            timings.load, timings.search, seconds, timings.total + seconds, timings.productRates));
  }

  private PruneReport with(
      SearchResult otherSearch, long otherBytes, List<String> otherWarnings, Timings otherTimings) {
    return new PruneReport(
        origin,
        jobId,
        request,
        model,
        settings,
        device,
        memory,
        otherSearch,
        parametersIn,
        parametersOut,
        otherBytes,
        quality,
        fit,
        choice,
        heal,
        work,
        otherWarnings,
        otherTimings);
  }
}
