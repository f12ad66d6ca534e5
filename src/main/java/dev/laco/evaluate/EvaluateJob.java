package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Passages;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.evaluate.ItemSample.Stratum;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import dev.laco.run.ModelJob;
import dev.laco.text.ParquetLines;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.BiFunction;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.DoubleStream;
import org.jspecify.annotations.Nullable;

/** One evaluation of a model as it is. */
@SuppressWarnings("exports")
public final class EvaluateJob extends ModelJob<EvaluateJob> {
  private static final String ITEMS = "items";

  /** Seconds in which an item is read and tokenised, as the progress expects them. */
  private static final double ITEM_SECONDS = 1e-4;

  /** The part of the allowed time in which the speed is measured. */
  private static final double PILOT = 20;

  /** The share of the time that is left that a sample may take as it is reckoned. */
  private static final double MARGIN = 0.9;

  private final EvaluateRequest request;
  private @Nullable Path dump;
  private @Nullable BiFunction<Model, Task, Path> samples;
  private List<Model> against = List.of();

  /** Prepares an evaluation. */
  public EvaluateJob(Model model, DeviceSettings device, EvaluateRequest request) {
    super(model, device);
    this.request = request;
  }

  /**
   * Writes a file, too, with the final hidden states ({@code <i>.final_hidden}) and the logits
   * ({@code <i>.logits}) of every token list or chunk, and of chunks also the token ids ({@code
   * <i>.tokens}): those of the job's own model, not of models that it is compared with.
   *
   * @param file the file, in the format safetensors, which must not exist
   */
  public EvaluateJob dumpTo(Path file) {
    dump = file;
    return this;
  }

  /**
   * Writes a file for each task, too, with a line of JSON for each item: the prompts, their
   * likelihoods and what the metrics say, in the form of lm-evaluation-harness.
   *
   * @param file gives the file of a model's task, which is replaced if it exists
   */
  public EvaluateJob samplesTo(BiFunction<Model, Task, Path> file) {
    samples = file;
    return this;
  }

  /**
   * Measures other models, too, and compares each with the model of the job on the same items.
   *
   * @param pruned models that stay open while the job runs
   */
  public EvaluateJob against(List<Model> pruned) {
    against = List.copyOf(pruned);
    return this;
  }

  /**
   * Runs the job.
   *
   * @throws dev.laco.BadInputException if a text cannot be used, or the model's weights are damaged
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public EvaluateResult run() {
    begin();
    return switch (request) {
      case EvaluateRequest.Text text -> alone(perplexities(text));
      case EvaluateRequest.Tokens tokens ->
          alone(new Perplexities(one -> ScoredText.of(tokens, one), false));
      case EvaluateRequest.Speed() -> {
        SpeedJob speed = speed();
        yield speed.run(
            opened -> {
              speed.expect(opened);
              tellExpectation();
            });
      }
      case EvaluateRequest.LastWords words -> lastWord(words.passages());
      case EvaluateRequest.Tasks tasks -> {
        try (ParquetLines parquet = new ParquetLines(this::requireWanted)) {
          yield tasks(tasks, parquet);
        }
      }
    };
  }

  private EvaluateResult.OfText alone(Perplexities perplexities) {
    return perplexities.run(
        opened -> {
          perplexities.expect(opened);
          tellExpectation();
        });
  }

  /** Where no file is named all models are measured on the first model's own text. */
  private Perplexities perplexities(EvaluateRequest.Text text) {
    EvaluateRequest.Text read = text.of(model);
    return new Perplexities(one -> ScoredText.of(read, one), true);
  }

  private SpeedJob speed() {
    return part(new SpeedJob(model, device, against));
  }

  /** The perplexity of one text by all models; the jobs are made before the first one runs. */
  private final class Perplexities {
    private final ScoredText text;
    private final boolean tokenized;
    private final List<TextJob> jobs = new ArrayList<>();

    /**
     * Reads the text with the tokenizer of each model.
     *
     * @param tokenized whether a dump has the token ids, too
     */
    Perplexities(Function<Model, ScoredText> read, boolean tokenized) {
      text = read.apply(model);
      this.tokenized = tokenized;
      for (Model one : models()) {
        if (one != model && !text.isSameAs(read.apply(one))) {
          throw new UsageException(
              one.directory()
                  + " has other tokens of "
                  + text.name()
                  + " than "
                  + model.directory()
                  + ": perplexities of the same tokens alone can be compared; measure each by"
                  + " itself and compare bits per byte");
        }
        jobs.add(part(new TextJob(one, device, whose(one), text)));
      }
    }

    void expect(Device opened) {
      jobs.forEach(each -> each.expect(opened));
    }

    double seconds(Device opened) {
      return jobs.stream().mapToDouble(each -> each.seconds(opened)).sum();
    }

    /** Measures all models; the first run tells {@code opened} of the device. */
    EvaluateResult.OfText run(Consumer<Device> opened) {
      List<Model> models = models();
      List<double[]> nll = new ArrayList<>();
      for (TextJob job : jobs) {
        boolean first = nll.isEmpty();
        nll.add(job.run(first ? dump : null, tokenized, first ? opened : again -> {}));
      }
      Metric dense = text.metric(nll.getFirst());
      List<TextComparison> comparisons = new ArrayList<>();
      for (int i = 1; i < models.size(); i++) {
        comparisons.add(
            TextComparison.of(
                dense, text.metric(nll.get(i)), models.get(i).directory(), perplexity(nll.get(i))));
      }
      return new EvaluateResult.OfText(
          text.name(),
          perplexity(nll.getFirst()),
          text.bytes() == 0 ? 0 : (double) text.tokens() / text.bytes(),
          dense,
          text.part(),
          comparisons);
    }

    private Perplexity perplexity(double[] nll) {
      return PerplexityMeasure.of(text.chunks(), DoubleStream.of(nll).sum());
    }
  }

  /** The model of the job, and those that are compared with it. */
  private List<Model> models() {
    List<Model> models = new ArrayList<>(List.of(model));
    models.addAll(against);
    return models;
  }

  /** What the name of a stage of a model ends with. */
  private String whose(Model one) {
    return against.isEmpty() ? "" : one == model ? ", dense" : ", " + one.name();
  }

  private EvaluateResult lastWord(Passages passages) {
    List<LastWordJob> jobs =
        models().stream()
            .map(one -> part(new LastWordJob(one, device, whose(one), passages)))
            .toList();
    List<boolean[]> known = new ArrayList<>();
    for (LastWordJob job : jobs) {
      boolean first = known.isEmpty();
      known.add(
          job.run(
              opened -> {
                if (first) {
                  jobs.forEach(each -> each.expect(opened));
                  tellExpectation();
                }
              }));
    }
    List<LastWordComparison> comparisons = new ArrayList<>();
    for (int i = 0; i < against.size(); i++) {
      comparisons.add(
          LastWordComparison.of(known.getFirst(), against.get(i).directory(), known.get(i + 1)));
    }
    return new EvaluateResult.OfPassages(
        jobs.getFirst().name(), LastWord.of(known.getFirst()), comparisons);
  }

  private EvaluateResult tasks(EvaluateRequest.Tasks request, ParquetLines parquet) {
    Double within = request.within();
    warnOfFixedShots(request);
    List<TaskItems> items = items(request, parquet);
    List<Model> models = models();
    List<TasksJob> jobs = new ArrayList<>();
    for (Model one : models) {
      jobs.add(part(new TasksJob(one, device, whose(one), items)));
    }
    if (within == null) {
      read(items, jobs.size(), one -> jobs.forEach(job -> job.survey(one)));
    } else {
      read(items, 1, one -> items.forEach(each -> each.weigh(one)));
    }
    Perplexities perplexities =
        request.hasPerplexity() ? perplexities(EvaluateRequest.Text.OWN) : null;
    SpeedJob speed = request.hasThroughput() ? speed() : null;
    BiFunction<Model, Task, Path> out = samples;
    List<TaskResults> results = new ArrayList<>();
    for (int i = 0; i < jobs.size(); i++) {
      Model one = models.get(i);
      boolean first = i == 0;
      results.add(
          jobs.get(i)
              .run(
                  out == null ? null : task -> out.apply(one, task),
                  opened -> {
                    if (first && within != null) {
                      double others =
                          (perplexities == null ? 0 : perplexities.seconds(opened))
                              + (speed == null ? 0 : speed.seconds(opened));
                      takeSample(opened, items, jobs, within - others);
                    }
                  },
                  planned -> {
                    if (first) {
                      jobs.forEach(job -> job.expect(planned));
                      if (perplexities != null) {
                        perplexities.expect(planned);
                      }
                      if (speed != null) {
                        speed.expect(planned);
                      }
                      tellExpectation();
                    }
                  }));
    }
    List<Task.Group> groups =
        Task.groups().stream().filter(group -> request.names().contains(group.name())).toList();
    TaskResults dense = results.getFirst();
    EvaluateResult.OfText text = perplexities == null ? null : perplexities.run(opened -> {});
    EvaluateResult.OfThroughput throughput = speed == null ? null : speed.run(opened -> {});
    return new EvaluateResult.OfTasks(
        dense,
        groups,
        results.stream().skip(1).map(pruned -> TaskComparison.of(dense, pruned, groups)).toList(),
        within == null ? null : ItemSample.of(within, progress().seconds(), dense),
        text,
        throughput);
  }

  private void warnOfFixedShots(EvaluateRequest.Tasks request) {
    Integer asked = request.shots();
    if (asked == null) {
      return;
    }
    List<String> fixed =
        request.tasks().stream()
            .filter(task -> task.hasFixedShots() && task.shots() != asked)
            .map(task -> String.format(Locale.ROOT, "%s (%d)", task, task.shots()))
            .toList();
    if (!fixed.isEmpty()) {
      warn(
          String.format(
              Locale.ROOT,
              "%s %d does not hold for %s: probes have their own examples, and whole texts none",
              Setting.of("shots"),
              asked,
              String.join(", ", fixed)));
    }
  }

  private static List<TaskItems> items(EvaluateRequest.Tasks request, ParquetLines parquet) {
    long limit = request.limit() == null ? Long.MAX_VALUE : request.limit();
    return request.tasks().stream()
        .map(
            task ->
                TaskFile.find(
                    task,
                    request.data(),
                    request.shots(),
                    Boolean.TRUE.equals(request.mutualInformation()),
                    parquet))
        .map(file -> new TaskItems(file, limit))
        .toList();
  }

  /**
   * Reads items before a model runs, which shows the progress and may be cancelled.
   *
   * @param times how often the items are read
   * @param reading is given what is to be told of each item
   */
  private void read(List<TaskItems> items, int times, Consumer<Runnable> reading) {
    long total = times * items.stream().mapToLong(TaskItems::expected).sum();
    progress().expect(ITEMS, total * ITEM_SECONDS);
    try (JobProgress.Stage stage = progress().begin(ITEMS)) {
      reading.accept(
          () -> {
            requireWanted();
            stage.advance(1, total);
          });
    }
  }

  /** Leaves to all models the same items of each task, as many as there is time for. */
  private void takeSample(
      Backend backend, List<TaskItems> items, List<TasksJob> jobs, double within) {
    List<Stratum> strata = jobs.getFirst().strata(backend, within / PILOT, against);
    double share = ItemSample.share(strata, MARGIN * (within - progress().seconds()));
    int measured = 0;
    int all = 0;
    for (int i = 0; i < items.size(); i++) {
      Stratum stratum = strata.get(i);
      int count = stratum.count(share);
      items.get(i).only(share == 1 ? Long.MAX_VALUE : stratum.bound(count));
      measured += count;
      all += stratum.items().size();
    }
    if (share < 1) {
      warn(
          String.format(
              Locale.ROOT,
              "%,d of %,d items are measured, of each task the same share: the time of %s does not"
                  + " suffice for more; errors and intervals are wider than those of all items",
              measured,
              all,
              Setting.of("within")));
    }
    read(items, jobs.size(), one -> jobs.forEach(job -> job.survey(one)));
  }
}
