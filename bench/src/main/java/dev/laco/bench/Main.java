package dev.laco.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;

/**
 * Runs the benchmarks by JMH, once for each device, and reports. The arguments are JMH's; {@code
 * --quick} measures a few cases shortly.
 */
public final class Main {
  private static final String QUICK = "--quick";

  /** Models whose cases the reference backend ends in reasonable time. */
  private static final String SMALLEST = "SmolLM2-135M";

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
      Machine machine = Machine.now();
      List<RunResult> results = new Main(user, quick).run();
      Report report = new Report(machine, results, Note.read(notes()));
      System.out.println(report.text());
      Path json = Path.of(System.getProperty("laco.bench.results"));
      Files.writeString(json, report.json());
      System.out.println("results: " + json);
    }
  }

  private static Path notes() {
    return Path.of(System.getProperty(Note.FILE));
  }

  private List<RunResult> run() throws IOException, RunnerException {
    Files.deleteIfExists(notes());
    List<RunResult> results = new ArrayList<>();
    for (Device device : devices()) {
      results.addAll(run(device));
    }
    return results;
  }

  private List<Device> devices() {
    Collection<String> asked = user.getParameter("device").orElse(List.of());
    if (!asked.isEmpty()) {
      return asked.stream().map(Device::of).toList();
    }
    return quick ? Device.supported().subList(0, 1) : Device.supported();
  }

  private Collection<RunResult> run(Device device) throws RunnerException {
    String log = System.getProperty("laco.bench.log") + "." + device.displayName();
    System.err.println("measuring on " + device.displayName() + ", JMH's log is " + log);
    ChainedOptionsBuilder options =
        new OptionsBuilder()
            .parent(user)
            .shouldFailOnError(true)
            .output(log)
            .jvmArgsAppend(device.property())
            .param("device", device.displayName());
    if (device == Device.REFERENCE) {
      options
          .exclude("Trial|Call")
          .param("model", SMALLEST)
          .param("precision", "bf16", "f32")
          .param("mebibytes", "8")
          .param("sequences", "10x39")
          .measurementIterations(2);
    } else if (quick) {
      options
          .param("precision", "bf16")
          .param("sequences", "10x39")
          .warmupTime(TimeValue.milliseconds(300))
          .measurementIterations(2);
    }
    return new Runner(options.build()).run();
  }
}
