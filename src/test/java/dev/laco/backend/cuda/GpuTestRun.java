package dev.laco.backend.cuda;

import static java.util.concurrent.TimeUnit.SECONDS;
import static org.junit.platform.engine.discovery.ClassNameFilter.includeClassNamePatterns;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClasspathRoots;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.LacoException;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.junit.platform.engine.support.descriptor.ClassSource;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestPlan;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * The tests of the CUDA backend as a program, for machines that have a GPU and no build:
 *
 * <pre>
 *   GpuTestRun [--under WORD]… [--limit SECONDS] [CLASS-PATTERN]
 * </pre>
 *
 * <p>Each class runs in a process of its own ({@link GpuTestClass}), so that one that ends its
 * process is one failure. Prints a line for each class, and a summary whatever happens. Exits with
 * 0 if all passed, 1 if one failed or there was none, 2 if an argument is wrong or no class has
 * such a name, 4 if there is no usable device.
 */
public final class GpuTestRun {
  /** The classes, as a regular expression; not what the engine says of lesser machines. */
  private static final String CLASSES =
      System.getProperty(
          "laco.gpu-test.classes", "dev\\.laco\\.(backend\\.cuda\\..*|cli\\.cuda\\.CudaPrune)Test");

  /** What {@code compute-sanitizer} ends with where it found something, as gpu-test asks it to. */
  private static final int SANITIZER_FOUND = 9;

  /** What a process ends with that has said why its device cannot be used. */
  private static final int UNUSABLE = 4;

  /** In the place of the exit code of a process that was not done in time. */
  private static final int LATE = -1;

  private final List<String> under = new ArrayList<>();
  private final Set<String> skipped = new TreeSet<>();
  private final List<String> failed = new ArrayList<>();
  private long limit = 3600;
  private Pattern wanted = Pattern.compile("");
  private int passed;

  private GpuTestRun(List<String> arguments) {
    for (int i = 0; i < arguments.size(); i++) {
      String argument = arguments.get(i);
      boolean hasValue = i + 1 < arguments.size();
      if (argument.equals("--under") && hasValue) {
        under.add(arguments.get(++i));
      } else if (argument.equals("--limit") && hasValue) {
        limit = seconds(arguments.get(++i));
      } else if (argument.startsWith("-")) {
        throw new UsageException("gpu-test: " + argument + " is no option, or lacks its value");
      } else {
        wanted = pattern(argument);
      }
    }
  }

  private static long seconds(String text) {
    if (!text.matches("[1-9][0-9]{0,8}")) {
      throw new UsageException("gpu-test: --limit " + text + ": expected seconds, from 1 on");
    }
    return Long.parseLong(text);
  }

  private static Pattern pattern(String text) {
    try {
      return Pattern.compile(text);
    } catch (PatternSyntaxException e) {
      throw new UsageException(
          "gpu-test: " + text + " is no regular expression: " + e.getMessage());
    }
  }

  /** Runs the tests, or with {@code --device-only} says what the device is. */
  public static void main(String[] args) {
    int code;
    try {
      code =
          List.of(args).equals(List.of("--device-only"))
              ? device()
              : new GpuTestRun(List.of(args)).run();
    } catch (LacoException e) {
      System.err.println("laco: " + e.getMessage());
      code = e instanceof UsageException ? 2 : UNUSABLE;
    }
    System.exit(code);
  }

  private static int device() {
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      System.out.println("device: " + backend.info().name());
    }
    return 0;
  }

  private int run() {
    List<String> classes = classes();
    if (classes.isEmpty()) {
      throw new UsageException(
          String.format(
              Locale.ROOT, "gpu-test: no class of tests has %s in its name", wanted.pattern()));
    }
    int device = finish(start(List.of(), GpuTestRun.class, List.of("--device-only")));
    if (device == UNUSABLE) {
      return device;
    }
    if (device != 0) {
      System.err.println("laco: gpu-test: the device could not be opened: " + ending(device));
      return 1;
    }
    long start = System.nanoTime();
    classes.forEach(this::run);
    skipped.forEach(reason -> System.out.println("skipped: " + reason));
    failed.forEach(name -> System.out.println("FAILED: " + name));
    System.out.printf(
        Locale.ROOT,
        "gpu-test: %d passed, %d failed, %d skipped in %.0f s%n",
        passed,
        failed.size(),
        skipped.size(),
        since(start));
    return failed.isEmpty() && passed > 0 ? 0 : 1;
  }

  /** By their full names. */
  private List<String> classes() {
    Path root =
        Path.of(GpuTestRun.class.getProtectionDomain().getCodeSource().getLocation().getPath());
    LauncherDiscoveryRequest all =
        LauncherDiscoveryRequestBuilder.request()
            .selectors(selectClasspathRoots(Set.of(root)))
            .filters(includeClassNamePatterns(CLASSES))
            .build();
    TestPlan plan = LauncherFactory.create().discover(all);
    return plan.getRoots().stream()
        .flatMap(engine -> plan.getChildren(engine).stream())
        .flatMap(test -> test.getSource().stream())
        .filter(ClassSource.class::isInstance)
        .map(source -> ((ClassSource) source).getClassName())
        .filter(name -> wanted.matcher(name).find())
        .sorted()
        .toList();
  }

  private void run(String name) {
    long start = System.nanoTime();
    int passedBefore = passed;
    int failedBefore = failed.size();
    try {
      Path results = Files.createTempFile("laco-gpu-test", ".txt");
      int code;
      try {
        code = finish(start(under, GpuTestClass.class, List.of(name, results.toString())));
        count(name, Files.readAllLines(results), code);
      } finally {
        Files.delete(results);
      }
    } catch (IOException e) {
      failed.add(name + ": " + e);
    }
    System.out.printf(
        Locale.ROOT,
        "%-50s %4d passed, %d failed (%.1f s)%n",
        name.substring(name.lastIndexOf('.') + 1),
        passed - passedBefore,
        failed.size() - failedBefore,
        since(start));
  }

  /** Adds what a process has left, and what it died of. */
  private void count(String name, List<String> results, int code) {
    String last = "its beginning";
    boolean ended = false;
    boolean failure = false;
    for (String line : results) {
      String text = line.substring(line.indexOf(' ') + 1);
      switch (line.substring(0, line.indexOf(' '))) {
        case GpuTestClass.STARTED -> last = text;
        case GpuTestClass.PASSED -> passed++;
        case GpuTestClass.SKIPPED -> skipped.add(text);
        case GpuTestClass.FAILED -> {
          failed.add(text);
          failure = true;
        }
        case GpuTestClass.ENDED -> ended = true;
        default -> throw new IllegalStateException(line);
      }
    }
    if (!ended) {
      failed.add(String.format(Locale.ROOT, "%s: %s in %s", name, ending(code), last));
    } else if (code != (failure ? 1 : 0)) {
      failed.add(name + ": " + ending(code));
    }
  }

  private String ending(int code) {
    if (code == LATE) {
      return "the process was not done after " + limit + " s";
    }
    return code == SANITIZER_FOUND && !under.isEmpty()
        ? "compute-sanitizer found errors"
        : "the process ended with exit code " + code;
  }

  private int finish(Process process) {
    try {
      if (process.waitFor(limit, SECONDS)) {
        return process.exitValue();
      }
      process.descendants().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly().waitFor();
      return LATE;
    } catch (InterruptedException e) {
      process.destroyForcibly();
      throw new IllegalStateException(e);
    }
  }

  /** Starts a program with this one's Java, options and class path. */
  private static Process start(List<String> under, Class<?> program, List<String> arguments) {
    List<String> command = new ArrayList<>(under);
    command.add(ProcessHandle.current().info().command().orElseThrow());
    command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), program.getName()));
    command.addAll(arguments);
    try {
      return new ProcessBuilder(command).inheritIO().start();
    } catch (IOException e) {
      throw new ResourceException("cannot start " + command.getFirst() + ": " + e.getMessage(), e);
    }
  }

  private static double since(long start) {
    return (System.nanoTime() - start) / 1e9;
  }
}
