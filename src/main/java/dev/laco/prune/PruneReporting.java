package dev.laco.prune;

import dev.laco.DeviceSettings;
import dev.laco.LacoVersion;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import dev.laco.report.ChoiceReport;
import dev.laco.report.FitReport;
import dev.laco.report.PruneReport;
import dev.laco.report.PruneSettings;
import java.time.Instant;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What the report of a prune says that is known before the search.
 *
 * @param began when the job began
 * @param jobId {@link PruneJob#id}
 * @param memory the memory as it was planned, for people
 */
record PruneReporting(
    Instant began,
    String jobId,
    PruneRequest request,
    Model model,
    DeviceSettings device,
    Backend backend,
    String memory,
    SearchChoice search,
    PruneTexts texts) {
  /**
   * The report of what the job has done, its result not yet written.
   *
   * @param result the search, with the pruned model in the first place
   */
  PruneReport of(
      SearchResult result,
      PruneReport.Quality quality,
      @Nullable FitReport fit,
      @Nullable ChoiceReport choice,
      PruneReport.@Nullable Healing heal,
      Work work,
      List<String> warnings,
      double loadSeconds,
      double searchSeconds,
      double totalSeconds) {
    return new PruneReport(
        new PruneReport.Origin(LacoVersion.number(), began, List.of()),
        jobId,
        request,
        original(),
        settings(result.threshold()),
        backend.info().name(),
        memory,
        result,
        model.checkpoint().parameterCount(),
        parameters(result.plan()),
        PlanApplier.weightBytes(model.checkpoint(), result.plan()),
        quality,
        fit,
        choice,
        heal,
        work,
        warnings,
        new PruneReport.Timings(loadSeconds, searchSeconds, null, totalSeconds, productRates()));
  }

  private PruneReport.Original original() {
    return new PruneReport.Original(
        model.directory().toString(),
        model.config().architecture().className(),
        model.config().architecture().modelType(),
        Model.dtypes(model.checkpoint()),
        model.checkpoint().storedBytes(),
        model.checkpoint().digest());
  }

  private PruneSettings settings(@Nullable Double threshold) {
    return new PruneSettings(
        search.settings(),
        search.rule(),
        threshold,
        device.compute(),
        backend.productType(model.weightType()),
        new PruneSettings.Calibration(
            texts.calibration().name(), texts.sequences().sequences(), texts.sequences().size()),
        search.fit() == null || texts.wholeFit() == null
            ? null
            : new PruneSettings.Fit(
                search.fit(), texts.wholeFit().name(), texts.wholeFit().tokens()));
  }

  private long parameters(CollapsePlan plan) {
    long removed =
        IntStream.range(0, model.config().numHiddenLayers())
            .filter(layer -> plan.layers().stream().noneMatch(mix -> mix.base() == layer))
            .mapToLong(model.config()::layerParameters)
            .sum();
    return model.checkpoint().parameterCount() - removed;
  }

  /** Operations a second by the name of the products' type. */
  private SortedMap<String, Double> productRates() {
    SortedMap<String, Double> rates = new TreeMap<>();
    backend.productRates().forEach((type, rate) -> rates.put(type.shortName(), rate));
    return rates;
  }
}
