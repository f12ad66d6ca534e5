package dev.laco.bench;

import dev.laco.ResourceException;
import dev.laco.backend.cuda.CudaProbe;
import dev.laco.bench.gpu.GpuCase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.NoBenchmarksException;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.util.Statistics;

/**
 * Runs the benchmarks by JMH, once for each device, and reports. The arguments are JMH's; {@code
 * --quick} measures a few cases shortly.
 */
public final class Main {
  private static final String QUICK = "--quick";

  /** What JMH writes to its log where a benchmark throws. */
  private static final String FAILURE = "<failure>";

  /** Models whose cases the reference backend ends in reasonable time. */
  private static final String SMALLEST = "SmolLM2-135M";

  private static final String CUDA = "cuda";

  /** Benchmarks of CUDA devices. */
  private static final String ON_CUDA = GpuCase.class.getPackageName() + ".";

  private final CommandLineOptions user;
  private final boolean quick;

  private Main(CommandLineOptions user, boolean quick) {
    this.user = user;
    this.quick = quick;
  }

  public static void main(String[] arguments)
      throws CommandLineOptionException, IOException, RunnerException {
    List<String> rest = new ArrayList<>(Arrays.asList(arguments));
    boolean quick = rest.remove(QUICK);
    CommandLineOptions user = new CommandLineOptions(rest.toArray(String[]::new));
    if (user.shouldHelp()) {
      user.showHelp();
    } else if (user.shouldList()) {
      new Runner(user).list();
    } else {
      System.exit(new Main(user, quick).report());
    }
  }

  /**
   * Measures, prints and writes; what was measured before a failure, too.
   *
   * @return the exit code
   */
  private int report() throws IOException, RunnerException {
    Machine machine = Machine.now();
    Path notes = Path.of(System.getProperty(Note.FILE));
    Files.deleteIfExists(notes);
    List<RunResult> results = new ArrayList<>();
    List<String> failed = new ArrayList<>();
    for (Device device : devices()) {
      Path log = log(device.displayName());
      results.addAll(run(device, log));
      check(log, failed);
    }
    if (measuresCuda()) {
      Path log = log(CUDA);
      results.addAll(runCuda(log));
      check(log, failed);
    }
    Map<String, Note> noted = Note.read(notes);
    Report report =
        new Report(
            machine,
            results.stream()
                .map(result -> row(result, noted.get(result.getParams().id())))
                .toList());
    System.out.println(report.text());
    Path json = Path.of(System.getProperty("laco.bench.results"));
    Files.writeString(json, report.json());
    System.out.println("results: " + json);
    if (results.isEmpty()) {
      failed.add("no benchmark was measured");
    }
    failed.forEach(System.err::println);
    return failed.isEmpty() ? 0 : 1;
  }

  private static Path log(String device) {
    Path log = Path.of(System.getProperty("laco.bench.log") + "." + device);
    System.err.println("measuring on " + device + ", JMH's log is " + log);
    return log;
  }

  private static void check(Path log, List<String> failed) throws IOException {
    if (Files.readString(log).contains(FAILURE)) {
      failed.add("a benchmark failed: see " + log);
    }
  }

  private static Report.Row row(RunResult result, @Nullable Note note) {
    BenchmarkParams params = result.getParams();
    Map<String, String> parameters = new LinkedHashMap<>();
    params.getParamsKeys().stream()
        .sorted()
        .forEach(key -> parameters.put(key, params.getParam(key)));
    Statistics statistics = result.getPrimaryResult().getStatistics();
    double unit = params.getTimeUnit().toNanos(1) / 1e9;
    String name = params.getBenchmark();
    return new Report.Row(
        name.substring(name.lastIndexOf('.') + 1),
        parameters,
        new Times(
            statistics.getMin() * unit,
            statistics.getPercentile(10) * unit,
            statistics.getPercentile(50) * unit,
            statistics.getPercentile(90) * unit,
            statistics.getN(),
            List.of()),
        Map.of(),
        note);
  }

  private List<Device> devices() {
    Collection<String> asked = user.getParameter("device").orElse(List.of());
    if (!asked.isEmpty()) {
      return asked.stream().filter(name -> !name.equals(CUDA)).map(Device::of).toList();
    }
    return quick ? Device.supported().subList(0, 1) : Device.supported();
  }

  /** Where the user asks for it, or for nothing and there is a CUDA device. */
  private boolean measuresCuda() {
    Collection<String> asked = user.getParameter("device").orElse(List.of());
    return asked.isEmpty() ? isCudaUsable() : asked.contains(CUDA);
  }

  private static boolean isCudaUsable() {
    try {
      CudaProbe.report((name, found) -> {});
      return true;
    } catch (ResourceException missing) {
      return false;
    }
  }

  private Collection<RunResult> runCuda(Path log) throws RunnerException {
    ChainedOptionsBuilder options =
        new OptionsBuilder()
            .parent(user)
            .output(log.toString())
            .exclude("^(?!" + Pattern.quote(ON_CUDA) + ")");
    if (quick) {
      options.warmupTime(TimeValue.milliseconds(300)).measurementIterations(2);
    }
    if (GpuCase.isEmulated()) {
      narrow(options, "model", ModelShape.TINY);
      narrow(options, "mebibytes", "1");
    }
    return run(options);
  }

  private Collection<RunResult> run(Device device, Path log) throws RunnerException {
    ChainedOptionsBuilder options =
        new OptionsBuilder()
            .parent(user)
            .output(log.toString())
            .exclude(Pattern.quote(ON_CUDA))
            .jvmArgsAppend(device.property())
            .param("device", device.displayName());
    if (device == Device.REFERENCE) {
      options.exclude("Trial|Call").measurementIterations(2);
      narrow(options, "model", SMALLEST);
      narrow(options, "precision", "bf16", "f32");
      narrow(options, "mebibytes", "8");
      narrow(options, "sequences", "10x39");
    } else if (quick) {
      options.warmupTime(TimeValue.milliseconds(300)).measurementIterations(2);
      narrow(options, "precision", "bf16");
      narrow(options, "sequences", "10x39");
    }
    return run(options);
  }

  private static Collection<RunResult> run(ChainedOptionsBuilder options) throws RunnerException {
    try {
      return new Runner(options.build()).run();
    } catch (NoBenchmarksException excluded) {
      return List.of();
    }
  }

  /** Fewer values of a parameter, unless the user gives them. */
  private void narrow(ChainedOptionsBuilder options, String name, String... values) {
    if (!user.getParameter(name).hasValue()) {
      options.param(name, values);
    }
  }
}
