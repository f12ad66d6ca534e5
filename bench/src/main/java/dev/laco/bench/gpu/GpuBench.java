package dev.laco.bench.gpu;

import dev.laco.BadInputException;
import dev.laco.CudaBinding;
import dev.laco.LacoException;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.backend.cuda.CudaException;
import dev.laco.bench.Machine;
import dev.laco.bench.ModelShape;
import dev.laco.bench.Note;
import dev.laco.bench.Report;
import dev.laco.bench.Target;
import dev.laco.cli.ExitCode;
import dev.laco.cli.JcudaFolder;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.model.DType;
import dev.laco.report.FitReport;
import dev.laco.scoring.SweepOptions;
import dev.laco.text.FitText;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Measures every kernel at the shapes of models, each beside what the device can do, measured in
 * the same run; what a launch costs; and a whole search. A kernel that differs from the reference
 * is not timed.
 */
@Command(
    name = "gpu-bench",
    description = {
      "Times the CUDA kernels by events, in the shapes of models, beside the device's own copy, streams and products.",
      "Each kernel is held against the reference first; one that differs is not timed, and the exit code is 1."
    },
    sortOptions = false)
public final class GpuBench implements Callable<Integer> {
  private static final List<String> MODELS =
      List.of("Llama-2-7B", "Llama-3-8B", "Qwen3-8B", "Llama-3-70B");

  /** The model of the published settings. */
  private static final String SEARCHED = MODELS.getFirst();

  private static final String SEARCH = "search";
  private static final String LAUNCH = "launch";
  private static final String FIT = "fit";

  /** Of a fit, what is left without the choice among models. */
  private static final String FIT_ALONE = "fit of the chosen model";

  /** The model whose fit has a target. */
  private static final String FITTED = "Llama-3-8B";

  /** Documents of the text of a fit: 131,072 tokens. */
  private static final int FIT_DOCUMENTS = 512;

  private static final int FEW_FIT_DOCUMENTS = 8;
  private static final int FEW_FIT_TOKENS = 32;
  private static final Target FIT_TARGET = Target.under(10);
  private static final int FITS = 3;
  private static final Target LAUNCH_TARGET = Target.under(3e-6);
  private static final Target SEARCH_TARGET = Target.under(0.05);
  private static final Target SEARCH_ALONE_TARGET = Target.under(0.1);
  private static final int PUBLISHED_TRIALS = 26;
  private static final int SEARCHES = 5;
  private static final int LAUNCH_SAMPLES = 50;
  private static final int INTERNAL = 1;

  @Option(
      names = "--op",
      paramLabel = "OP",
      split = ",",
      description = "Only these: an op by its kernel's name, launch, search, fit. Default: all.")
  List<String> ops = new ArrayList<>();

  @Option(
      names = "--shape",
      paramLabel = "MODEL",
      split = ",",
      description =
          "Only the shapes of these: Llama-2-7B, Llama-3-8B, Qwen3-8B, Llama-3-70B. Default: all.")
  List<String> shapes = new ArrayList<>();

  @Option(
      names = "--quick",
      description =
          "Times everything once, in tiny shapes unless --shape names some: a check that all of it works.")
  boolean quick;

  @Option(
      names = "--json",
      paramLabel = "FILE",
      defaultValue = "gpu-bench.jsonl",
      description = "File that results are added to, a line each. Default: ${DEFAULT-VALUE}.")
  Path json;

  @Option(
      names = "--device",
      paramLabel = "cuda[:N]",
      defaultValue = "cuda",
      description = "Default: the first.")
  String device;

  @Option(
      names = "--cuda-binding",
      paramLabel = "ffm|jcuda",
      defaultValue = "ffm",
      description = "How the driver is called. Default: ${DEFAULT-VALUE}.")
  CudaBinding binding;

  @Option(
      names = "--cubin",
      paramLabel = "FILE",
      description =
          "A kernel of yours (cubin, fatbin or PTX) with the parameters, grid and block of ours for one --op: it is held against the reference and timed beside ours.")
  @Nullable Path cubin;

  @Option(names = "--kernel", paramLabel = "NAME", description = "Its name in the file.")
  @Nullable String kernel;

  @Option(
      names = "--dtype",
      paramLabel = "f32|f16|bf16",
      description = "The dtype of its weights. Default: bf16 where ours has that, else f32.")
  @Nullable DType dtype;

  @Option(names = "--help", usageHelp = true, description = "Prints this and exits.")
  boolean help;

  private final List<Report.Row> rows = new ArrayList<>();
  private final List<String> failures = new ArrayList<>();

  /** Runs the command line and exits with its code. */
  public static void main(String[] args) {
    Locale.setDefault(Locale.ROOT);
    CommandLine commandLine = new CommandLine(new GpuBench());
    commandLine.setCaseInsensitiveEnumValuesAllowed(true);
    commandLine.setExecutionExceptionHandler(
        (e, command, parsed) -> {
          if (e instanceof LacoException known) {
            command.getErr().println("gpu-bench: " + known.getMessage());
            return ExitCode.of(known);
          }
          e.printStackTrace(command.getErr());
          return INTERNAL;
        });
    System.exit(commandLine.execute(args));
  }

  @Override
  public Integer call() throws IOException {
    List<Op> chosen = ops();
    List<String> models = models();
    int ordinal = ordinal();
    Machine machine = Machine.now();
    if (binding == CudaBinding.JCUDA) {
      JcudaFolder.make();
    }
    try (BenchDevice opened = BenchDevice.open(binding, ordinal)) {
      Bench bench =
          new Bench(opened, new Timing(opened, quick), new ResultLog(json, machine, opened));
      bench.introduce();
      for (Op op : chosen) {
        bench.measure(op, models);
      }
      if (asks(LAUNCH)) {
        bench.launches();
      }
      if (asks(SEARCH)) {
        bench.searches(models);
      }
      if (asks(FIT)) {
        bench.fits(models);
      }
    }
    System.out.println(new Report(machine, rows).text());
    System.out.println("results: " + json);
    failures.forEach(failure -> System.err.println("gpu-bench: " + failure));
    return failures.isEmpty() ? 0 : INTERNAL;
  }

  private boolean asks(String op) {
    return cubin == null && (ops.isEmpty() || ops.contains(op));
  }

  private List<Op> ops() {
    List<Op> all = Ops.all();
    List<String> names =
        Stream.concat(all.stream().map(Op::name), Stream.of(LAUNCH, SEARCH, FIT)).toList();
    for (String op : ops) {
      if (!names.contains(op)) {
        throw new UsageException("--op " + op + ": expected of " + String.join(", ", names));
      }
    }
    List<Op> chosen = all.stream().filter(op -> ops.isEmpty() || ops.contains(op.name())).toList();
    if ((cubin == null) != (kernel == null) || (cubin != null && chosen.size() != 1)) {
      throw new UsageException("--cubin, --kernel and one --op go together");
    }
    return chosen;
  }

  private List<String> models() {
    for (String shape : shapes) {
      if (!MODELS.contains(shape)) {
        throw new UsageException("--shape " + shape + ": expected of " + String.join(", ", MODELS));
      }
    }
    if (!shapes.isEmpty()) {
      return shapes;
    }
    return quick ? List.of(ModelShape.TINY) : MODELS;
  }

  private int ordinal() {
    if (!device.matches("cuda(:[0-9]{1,4})?")) {
      throw new UsageException("--device " + device + ": expected cuda or cuda:N");
    }
    return device.equals("cuda") ? 0 : Integer.parseInt(device.substring("cuda:".length()));
  }

  /** What is measured on one device. */
  private final class Bench {
    private final BenchDevice on;
    private final Timing timing;
    private final GpuCeilings ceilings;
    private final ResultLog log;

    Bench(BenchDevice on, Timing timing, ResultLog log) {
      this.on = on;
      this.timing = timing;
      this.ceilings = new GpuCeilings(timing);
      this.log = log;
    }

    void introduce() {
      System.err.println("gpu-bench: " + on);
      for (GpuCeilings.Measured ceiling : ceilings.all()) {
        add(
            "ceiling",
            Map.of("of", ceiling.name()),
            ceiling.seconds(),
            ceiling.bytes(),
            ceiling.operations(),
            List.of(),
            null);
      }
    }

    /** An op by ours, or by ours of one dtype and the user's. */
    void measure(Op op, List<String> models) {
      System.err.println("gpu-bench: " + op.name());
      if (cubin == null || kernel == null) {
        for (Variant variant : op.variants()) {
          measure(op, variant, function(variant), variant.name(), models);
        }
        return;
      }
      Variant like = like(op);
      measure(op, like, on.function(cubin, kernel), kernel + " of " + cubin, models);
      measure(op, like, function(like), like.name(), models);
    }

    private BenchDevice.@Nullable Function function(Variant variant) {
      return variant.isKernel() ? on.function(variant.file(), variant.name()) : null;
    }

    /** The kernel of ours that the user's stands in for. */
    private Variant like(Op op) {
      List<Variant> kernels = op.variants().stream().filter(Variant::isKernel).toList();
      List<DType> has = kernels.stream().map(Variant::dtype).distinct().toList();
      DType wanted = dtype != null ? dtype : has.contains(DType.BF16) ? DType.BF16 : DType.F32;
      return kernels.stream()
          .filter(variant -> variant.dtype() == wanted)
          .reduce((first, last) -> last)
          .orElseThrow(
              () ->
                  new BadInputException(
                      "--op " + op.name() + " has no kernel for " + wanted.shortName()));
    }

    /** Verified first; what the card has no room for is left out. */
    private void measure(
        Op op,
        Variant variant,
        BenchDevice.@Nullable Function function,
        String name,
        List<String> models) {
      Predicate<Sizes> taken = sizes -> op.takes(variant, sizes);
      for (Sizes sizes : Sizes.VERIFIED.stream().filter(taken).toList()) {
        if (!unlessTooLarge(name, () -> verify(op, variant, function, name, sizes))) {
          return;
        }
      }
      for (String model : models) {
        List<Sizes> timed = op.timed(Sizes.trial(model), Sizes.large(model));
        for (Sizes sizes : timed.stream().filter(taken).toList()) {
          unlessTooLarge(
              String.format(Locale.ROOT, "%s, %s, %s", name, model, op.describe(sizes)),
              () -> {
                time(op, variant, function, name, sizes);
                return true;
              });
        }
      }
    }

    /** What the work says; false where the device has too little memory for it. */
    private boolean unlessTooLarge(String what, BooleanSupplier work) {
      try {
        return work.getAsBoolean();
      } catch (CudaException e) {
        throw e;
      } catch (ResourceException e) {
        System.err.println("gpu-bench: left out: " + what + ": " + e.getMessage());
        return false;
      }
    }

    private boolean verify(
        Op op, Variant variant, BenchDevice.@Nullable Function function, String name, Sizes sizes) {
      try (Lab lab = new Lab(on, true)) {
        Job job = op.prepare(variant, sizes, lab);
        job.verify(job.work(function));
        return true;
      } catch (AssertionError e) {
        failures.add(
            String.format(
                Locale.ROOT,
                "%s is wrong in the shapes of %s, %s: %s",
                name,
                sizes.model(),
                op.describe(sizes),
                e.getMessage()));
        return false;
      }
    }

    private void time(
        Op op, Variant variant, BenchDevice.@Nullable Function function, String name, Sizes sizes) {
      try (Lab lab = new Lab(on, false)) {
        Job job = op.prepare(variant, sizes, lab);
        List<Note.Rates> bounds = ceilings.of(job);
        Runnable work = job.work(function);
        add(
            op.name(),
            parameters("kernel", name, "model", sizes.model(), "sizes", op.describe(sizes)),
            job.isCached() ? timing.ofCache(work) : timing.ofMemory(work),
            job.read() + job.written(),
            job.operations(),
            bounds,
            op.target(variant, sizes, on));
      }
    }

    /** What a launch costs the host. */
    void launches() {
      System.err.println("gpu-bench: " + LAUNCH);
      try (LaunchPath path = new LaunchPath(on)) {
        path.all()
            .forEach(
                (what, launch) -> {
                  int samples = quick ? 1 : LAUNCH_SAMPLES;
                  path.seconds(launch);
                  List<Double> seconds =
                      Stream.generate(() -> path.seconds(launch)).limit(samples).toList();
                  add(
                      LAUNCH,
                      parameters("of", what, "binding", on.binding().toString()),
                      seconds,
                      0,
                      0,
                      List.of(),
                      LAUNCH_TARGET);
                });
      }
    }

    /**
     * The whole search, by replacement as it was published and by Eq. 1, each with as many
     * candidates in a pass as pay, and with one.
     */
    void searches(List<String> models) {
      String model = quick && shapes.isEmpty() ? ModelShape.TINY : SEARCHED;
      if (!models.contains(model)) {
        return;
      }
      System.err.println("gpu-bench: " + SEARCH);
      for (MergeRule rule : List.of(MergeRule.REPLACE, MergeRule.rdsc(1))) {
        search(model, rule, Lookahead.upTo(SweepOptions.CANDIDATES), "default", SEARCH_TARGET);
        search(model, rule, Lookahead.NONE, "1", SEARCH_ALONE_TARGET);
      }
    }

    private void search(
        String model, MergeRule rule, Lookahead lookahead, String ahead, Target target) {
      unlessTooLarge(
          SEARCH,
          () -> {
            try (SearchJob job = new SearchJob(on, Sizes.trial(model), rule, lookahead)) {
              search(job, model, rule, ahead, target);
            }
            return true;
          });
    }

    private void search(SearchJob job, String model, MergeRule rule, String ahead, Target target) {
      SearchJob.Result first = job.run();
      if (model.equals(SEARCHED) && first.count() != PUBLISHED_TRIALS) {
        throw new AssertionError(first.count() + " trials, published were " + PUBLISHED_TRIALS);
      }
      List<SearchJob.Result> results =
          Stream.generate(job::run).limit(quick ? 1 : SEARCHES).toList();
      Map<String, Double> parts = new LinkedHashMap<>();
      parts.put(
          "reference", Timing.median(results.stream().map(SearchJob.Result::reference).toList()));
      parts.put("trials", Timing.median(results.stream().map(SearchJob.Result::trials).toList()));
      add(
          SEARCH,
          parameters(
              "model", model,
              "rule", rule.label(),
              "lookahead", ahead,
              "trials", String.valueOf(first.count()),
              "passes", String.valueOf(first.work().passes()),
              "sizes", Sizes.trial(model).text()),
          results.stream().map(SearchJob.Result::seconds).toList(),
          (double) first.work().bytesRead(),
          (double) first.work().floorOperations(),
          List.of(ceilings.stream(1, 0), ceilings.product(DType.BF16).rates()),
          target,
          parts);
    }

    /** What the fits of a prune to three quarters of the layers take: two rules. */
    void fits(List<String> models) {
      boolean few = quick && shapes.isEmpty();
      String model = few ? ModelShape.TINY : FITTED;
      if (!models.contains(model)) {
        return;
      }
      System.err.println("gpu-bench: " + FIT);
      int documents = few ? FEW_FIT_DOCUMENTS : FIT_DOCUMENTS;
      int length = few ? FEW_FIT_TOKENS : FitText.CHUNK_TOKENS;
      unlessTooLarge(
          FIT,
          () -> {
            try (FitJob job = new FitJob(on, Sizes.trial(model), documents, length)) {
              fit(job, model, FitRule.FIT, FIT_TARGET);
              fit(job, model, FitRule.REFINE, null);
            } catch (AssertionError e) {
              failures.add(FIT + ": " + e.getMessage());
            }
            return true;
          });
    }

    /** The choice and the fit that follows it together, and the fit alone. */
    private void fit(FitJob job, String model, FitRule rule, @Nullable Target target) {
      List<FitReport> fits = Stream.generate(() -> job.run(rule)).limit(quick ? 1 : FITS).toList();
      FitReport first = fits.getFirst();
      Map<String, String> parameters =
          parameters(
              "model",
              model,
              "rule",
              rule.label(),
              "sizes",
              String.format(Locale.ROOT, "%d tokens", first.tokens()),
              "solver",
              first.solver());
      Map<String, Double> parts = new LinkedHashMap<>();
      parts.put("choice", Timing.median(fits.stream().map(FitReport::choiceSeconds).toList()));
      parts.put("fit", Timing.median(fits.stream().map(FitReport::fitSeconds).toList()));
      add(
          FIT,
          parameters,
          fits.stream().map(fit -> fit.choiceSeconds() + fit.fitSeconds()).toList(),
          0,
          0,
          List.of(),
          null,
          parts);
      add(
          FIT_ALONE,
          parameters,
          fits.stream().map(FitReport::fitSeconds).toList(),
          0,
          0,
          List.of(),
          target);
    }

    private void add(
        String benchmark,
        Map<String, String> parameters,
        List<Double> seconds,
        double bytes,
        double operations,
        List<Note.Rates> bounds,
        @Nullable Target target) {
      add(benchmark, parameters, seconds, bytes, operations, bounds, target, Map.of());
    }

    private void add(
        String benchmark,
        Map<String, String> parameters,
        List<Double> seconds,
        double bytes,
        double operations,
        List<Note.Rates> bounds,
        @Nullable Target target,
        Map<String, Double> parts) {
      // What an emulation takes is held against nothing.
      Target held = on.isEmulated() ? null : target;
      Report.Row row =
          new Report.Row(
              benchmark,
              parameters,
              Collections.min(seconds),
              Timing.median(seconds),
              new Note(
                  benchmark + parameters, on.toString(), bytes, operations, bounds, parts, held));
      rows.add(row);
      log.add(row);
    }
  }

  /** In this order. */
  private static Map<String, String> parameters(String... namesAndValues) {
    Map<String, String> parameters = new LinkedHashMap<>();
    for (int i = 0; i < namesAndValues.length; i += 2) {
      parameters.put(namesAndValues[i], namesAndValues[i + 1]);
    }
    return parameters;
  }
}
