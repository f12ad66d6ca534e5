package dev.laco.bench.gpu;

import dev.laco.CudaBinding;
import dev.laco.LacoException;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.bench.Machine;
import dev.laco.bench.ModelShape;
import dev.laco.bench.Report;
import dev.laco.cli.ExitCode;
import dev.laco.cli.JcudaFolder;
import dev.laco.model.DType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.ArgGroup;
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

  private static final int INTERNAL = 1;
  private static final long COOL_DOWN_MILLISECONDS = 5000;

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
      names = "--size",
      paramLabel = "AXIS=N[,N...]",
      description =
          "Instead of an op's own sizes: tokens of a sequence, sequences, candidates, hidden or inner (widths). Several axes: all combinations.")
  Map<Shape.Axis, String> sizes = new EnumMap<>(Shape.Axis.class);

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
      names = "--picture",
      paramLabel = "FILE.svg",
      description = "Measures nothing, and draws what the file of results has: a roofline.")
  @Nullable Path picture;

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

  @ArgGroup(exclusive = false, multiplicity = "0..*")
  List<UserKernel> users = new ArrayList<>();

  @Option(
      names = "--dtype",
      paramLabel = "f32|f16|bf16",
      description = "The dtype of its weights. Default: bf16 where ours has that, else f32.")
  @Nullable DType dtype;

  @Option(names = "--help", usageHelp = true, description = "Prints this and exits.")
  boolean help;

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
    if (picture != null) {
      new ResultPicture(json).write(picture);
      System.out.println("picture: " + picture);
      return 0;
    }
    List<Op> chosen = ops();
    List<String> models = models();
    requireEffect(models);
    List<Shape> asked = models.stream().map(model -> new Shape(model, axes())).toList();
    int ordinal = ordinal();
    Machine machine = Machine.now();
    if (binding == CudaBinding.JCUDA) {
      JcudaFolder.make();
    }
    Results results;
    try (BenchDevice opened = BenchDevice.open(binding, ordinal);
        Nvml sensors = sensors(opened)) {
      results = new Results(opened, new ResultLog(json, machine, opened));
      Timing timing = new Timing(opened, quick);
      Watch watch = new Watch(sensors, this::coolDown);
      GpuCeilings ceilings = new GpuCeilings(timing, watch);
      System.err.println("gpu-bench: " + opened);
      ceilings.all().forEach(ceiling -> add(results, ceiling, "begin").add());
      kernels(chosen, new KernelCases(opened, timing, watch, ceilings, results, asked));
      jobs(models, new JobCases(opened, watch, ceilings, results, quick));
      conclude(ceilings, results);
    }
    System.out.println(new Report(machine, results.rows()).text());
    System.out.println("results: " + json);
    if (results.failures() > 0) {
      System.err.println("gpu-bench: FAILED: " + results.failures() + ", each said above");
    }
    return results.failures() == 0 ? 0 : INTERNAL;
  }

  /** Null, which is said, where the card cannot be watched. */
  private static @Nullable Nvml sensors(BenchDevice device) {
    try {
      return new Nvml(device.busId());
    } catch (ResourceException e) {
      System.err.println(
          "gpu-bench: clocks, power, temperature and throttling are not watched: "
              + e.getMessage());
      return null;
    }
  }

  private void coolDown() {
    try {
      Thread.sleep(quick ? 1 : COOL_DOWN_MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void kernels(List<Op> chosen, KernelCases cases) {
    for (Op op : chosen) {
      System.err.println("gpu-bench: " + op.name());
      if (users.isEmpty()) {
        cases.ours(op);
      } else {
        cases.beside(op, dtype, users);
      }
    }
  }

  private void jobs(List<String> models, JobCases cases) {
    if (asks(JobCases.LAUNCH)) {
      cases.launches();
    }
    if (asks(JobCases.SEARCH)) {
      cases.searches(models);
    }
    if (asks(JobCases.FIT)) {
      cases.fits(models);
    }
  }

  /** Measures the ceilings again: what they moved by is how much the shares can be wrong. */
  private static void conclude(GpuCeilings ceilings, Results results) {
    ceilings
        .again()
        .forEach(
            (before, now) ->
                add(results, now, "end")
                    .with("of begin", now.times().median() / before.times().median())
                    .add());
  }

  private static Results.Result add(Results results, GpuCeilings.Measured ceiling, String when) {
    return results
        .of("ceiling", ceiling.times(), "of", ceiling.name(), "at the", when)
        .work(ceiling.bytes(), ceiling.operations())
        .clocks(ceiling.card());
  }

  private boolean asks(String job) {
    boolean asked = users.isEmpty() && (ops.isEmpty() || ops.contains(job));
    if (asked) {
      System.err.println("gpu-bench: " + job);
    }
    return asked;
  }

  private List<Op> ops() {
    List<Op> all = Ops.all();
    List<String> names = Stream.concat(all.stream().map(Op::name), JobCases.ALL.stream()).toList();
    for (String op : ops) {
      if (!names.contains(op)) {
        throw new UsageException("--op " + op + ": expected of " + String.join(", ", names));
      }
    }
    List<Op> chosen = all.stream().filter(op -> ops.isEmpty() || ops.contains(op.name())).toList();
    if (!users.isEmpty() && chosen.size() != 1) {
      throw new UsageException("--cubin goes together with one --op");
    }
    return chosen;
  }

  /** Refuses options that would change nothing, and jobs by name that have no shape asked for. */
  private void requireEffect(List<String> models) {
    if (dtype != null && users.isEmpty()) {
      throw new UsageException("--dtype goes together with --cubin");
    }
    for (String job : ops.stream().filter(JobCases.ALL::contains).toList()) {
      if (!sizes.isEmpty()) {
        throw new UsageException("--op " + job + " has no --size, which kernels have");
      }
      String model = JobCases.modelOf(job, models);
      if (!job.equals(JobCases.LAUNCH) && !models.contains(model)) {
        throw new UsageException("--op " + job + " has the shapes of " + model + " alone");
      }
    }
  }

  private Map<Shape.Axis, List<Integer>> axes() {
    Map<Shape.Axis, List<Integer>> axes = new EnumMap<>(Shape.Axis.class);
    sizes.forEach(
        (axis, values) -> {
          if (!values.matches("[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*")) {
            throw new UsageException(
                String.format(
                    Locale.ROOT,
                    "--size %s=%s: expected numbers above 0, separated by commas",
                    axis.name().toLowerCase(Locale.ROOT),
                    values));
          }
          axes.put(axis, Stream.of(values.split(",")).map(Integer::valueOf).toList());
        });
    return axes;
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
}
