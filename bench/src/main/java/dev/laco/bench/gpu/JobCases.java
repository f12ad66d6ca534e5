package dev.laco.bench.gpu;

import dev.laco.ResourceException;
import dev.laco.backend.cuda.CudaException;
import dev.laco.bench.ModelShape;
import dev.laco.bench.Target;
import dev.laco.bench.Times;
import dev.laco.bench.gpu.Watch.Watched;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.model.DType;
import dev.laco.report.FitReport;
import dev.laco.scoring.SweepOptions;
import dev.laco.text.FitText;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Measures what is made of many kernels: launches as the host sees them, a search, a fit. */
final class JobCases {
  static final String SEARCH = "search";
  static final String LAUNCH = "launch";
  static final String FIT = "fit";

  /** What can be asked for beside kernels. */
  static final List<String> ALL = List.of(LAUNCH, SEARCH, FIT);

  /** The model of the published settings. */
  private static final String SEARCHED = "Llama-2-7B";

  /** The model whose fit has a target. */
  private static final String FITTED = "Llama-3-8B";

  /** Of a fit, what is left without the choice among models. */
  private static final String FIT_ALONE = "fit of the chosen model";

  /** Documents of the text of a fit: 131,072 tokens. */
  private static final int FIT_DOCUMENTS = 512;

  private static final int FEW_FIT_DOCUMENTS = 8;
  private static final int FEW_FIT_TOKENS = 32;
  private static final Target FIT_TARGET = Target.under(10);
  private static final int FITS = 3;
  private static final Target LAUNCH_TARGET = Target.under(3e-6);
  private static final int PUBLISHED_TRIALS = 26;
  private static final int SEARCHES = 5;
  private static final int LAUNCH_SAMPLES = 50;

  private final BenchDevice device;
  private final Watch watch;
  private final GpuCeilings ceilings;
  private final Results results;
  private final boolean quick;

  /**
   * @param quick whether once is enough
   */
  JobCases(BenchDevice device, Watch watch, GpuCeilings ceilings, Results results, boolean quick) {
    this.device = device;
    this.watch = watch;
    this.ceilings = ceilings;
    this.results = results;
    this.quick = quick;
  }

  /** What a launch costs the host. */
  void launches() {
    try (LaunchPath path = new LaunchPath(device)) {
      path.all()
          .forEach(
              (what, launch) -> {
                path.seconds(launch);
                results
                    .of(
                        LAUNCH,
                        times(quick ? 1 : LAUNCH_SAMPLES, () -> path.seconds(launch)),
                        "of",
                        what,
                        "binding",
                        device.binding().toString())
                    .wanted(LAUNCH_TARGET)
                    .add();
              });
    }
  }

  private static Times times(int count, Supplier<Double> measurement) {
    return Times.of(Stream.generate(measurement).limit(count).toList());
  }

  /**
   * The whole search, by replacement as it was published and by Eq. 1, each with as many candidates
   * in a pass as pay, and with one.
   *
   * @param models that the user asks for
   */
  void searches(List<String> models) {
    String model = modelOf(SEARCH, models);
    if (!models.contains(model)) {
      return;
    }
    searches(model, MergeRule.REPLACE, Target.under(0.05), Target.under(0.1));
    // Mixed layers have several sources each: the floor is 1.3 times as high.
    searches(model, MergeRule.rdsc(1), Target.under(0.06), Target.under(0.13));
  }

  private void searches(String model, MergeRule rule, Target usual, Target alone) {
    search(model, rule, Lookahead.upTo(SweepOptions.CANDIDATES), "default", usual);
    search(model, rule, Lookahead.NONE, "1", alone);
  }

  /**
   * The only model whose shapes a search or a fit has.
   *
   * @param models that the user asks for
   */
  static String modelOf(String job, List<String> models) {
    String usual = job.equals(FIT) ? FITTED : SEARCHED;
    return models.equals(List.of(ModelShape.TINY)) ? ModelShape.TINY : usual;
  }

  private void search(
      String model, MergeRule rule, Lookahead lookahead, String ahead, Target target) {
    unlessTooLarge(
        SEARCH,
        () -> {
          try (SearchJob job = new SearchJob(device, Sizes.trial(model), rule, lookahead)) {
            search(job, model, rule, ahead, target);
          }
        });
  }

  private static void unlessTooLarge(String what, Runnable work) {
    try {
      work.run();
    } catch (CudaException e) {
      throw e;
    } catch (ResourceException e) {
      System.err.println("gpu-bench: left out: " + what + ": " + e.getMessage());
    }
  }

  private void search(SearchJob job, String model, MergeRule rule, String ahead, Target target) {
    SearchJob.Result first = job.run();
    if (model.equals(SEARCHED) && first.count() != PUBLISHED_TRIALS) {
      throw new AssertionError(first.count() + " trials, published were " + PUBLISHED_TRIALS);
    }
    Watched<List<SearchJob.Result>> watched =
        watch.measure(() -> Stream.generate(job::run).limit(quick ? 1 : SEARCHES).toList());
    List<SearchJob.Result> runs = watched.measured();
    Map<String, Double> parts = new LinkedHashMap<>();
    parts.put("reference", Times.median(runs.stream().map(SearchJob.Result::reference).toList()));
    parts.put("trials", Times.median(runs.stream().map(SearchJob.Result::trials).toList()));
    results
        .of(
            SEARCH,
            Times.of(runs.stream().map(SearchJob.Result::seconds).toList()),
            "model",
            model,
            "rule",
            rule.label(),
            "lookahead",
            ahead,
            "trials",
            String.valueOf(first.count()),
            "passes",
            String.valueOf(first.work().passes()),
            "sizes",
            Sizes.trial(model).text())
        .work((double) first.work().bytesRead(), (double) first.work().floorOperations())
        .within(List.of(ceilings.stream(1, 0), ceilings.product(DType.BF16).rates()))
        .of(parts)
        .wanted(target)
        .clocks(watched.card())
        .add();
  }

  /**
   * What the fits of a prune to three quarters of the layers take: two rules.
   *
   * @param models that the user asks for
   */
  void fits(List<String> models) {
    String model = modelOf(FIT, models);
    if (!models.contains(model)) {
      return;
    }
    boolean few = model.equals(ModelShape.TINY);
    int documents = few ? FEW_FIT_DOCUMENTS : FIT_DOCUMENTS;
    int length = few ? FEW_FIT_TOKENS : FitText.CHUNK_TOKENS;
    unlessTooLarge(
        FIT,
        () -> {
          try (FitJob job = new FitJob(device, Sizes.trial(model), documents, length)) {
            fit(job, model, FitRule.FIT, FIT_TARGET);
            fit(job, model, FitRule.REFINE, null);
          } catch (AssertionError e) {
            results.fail(FIT + ": " + e.getMessage());
          }
        });
  }

  /** The choice and the fit that follows it together, and the fit alone. */
  private void fit(FitJob job, String model, FitRule rule, @Nullable Target target) {
    Watched<List<FitReport>> watched =
        watch.measure(() -> Stream.generate(() -> job.run(rule)).limit(quick ? 1 : FITS).toList());
    List<FitReport> fits = watched.measured();
    FitReport first = fits.getFirst();
    String[] parameters = {
      "model",
      model,
      "rule",
      rule.label(),
      "sizes",
      String.format(Locale.ROOT, "%d tokens", first.tokens()),
      "solver",
      first.solver()
    };
    Map<String, Double> parts = new LinkedHashMap<>();
    parts.put("choice", Times.median(fits.stream().map(FitReport::choiceSeconds).toList()));
    parts.put("fit", Times.median(fits.stream().map(FitReport::fitSeconds).toList()));
    results
        .of(
            FIT,
            Times.of(fits.stream().map(fit -> fit.choiceSeconds() + fit.fitSeconds()).toList()),
            parameters)
        .of(parts)
        .clocks(watched.card())
        .add();
    results
        .of(FIT_ALONE, Times.of(fits.stream().map(FitReport::fitSeconds).toList()), parameters)
        .wanted(target)
        .clocks(watched.card())
        .add();
  }
}
