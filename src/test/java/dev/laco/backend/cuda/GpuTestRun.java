package dev.laco.backend.cuda;

import static org.junit.platform.engine.discovery.ClassNameFilter.includeClassNamePatterns;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClasspathRoots;

import dev.laco.ResourceException;
import dev.laco.backend.Compute;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.ClassSource;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * The tests of the CUDA backend as a program, for machines that have a GPU and no build. Prints a
 * line for each class and a summary; exits with 0 if all passed, 1 if one failed or there was none,
 * 4 if there is no usable device.
 */
public final class GpuTestRun implements TestExecutionListener {
  private final Set<String> skipped = new TreeSet<>();
  private int passed;
  private int failed;
  private int passedBefore;
  private int failedBefore;
  private long classStart;

  private GpuTestRun() {}

  /** Runs all tests, or with {@code --device-only} just says what the device is. */
  public static void main(String[] args) {
    System.exit(run(List.of(args).contains("--device-only")));
  }

  private static int run(boolean deviceOnly) {
    String device;
    try (var backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      device = backend.device();
    } catch (ResourceException e) {
      System.err.println("laco: " + e.getMessage());
      return e.exitCode();
    }
    System.out.println("device: " + device);
    if (deviceOnly) {
      return 0;
    }
    long start = System.nanoTime();
    GpuTestRun run = new GpuTestRun();
    LauncherFactory.create().execute(tests(), run);
    run.skipped.forEach(reason -> System.out.println("skipped: " + reason));
    System.out.printf(
        Locale.ROOT,
        "gpu-test: %d passed, %d failed, %d skipped in %.0f s on %s%n",
        run.passed,
        run.failed,
        run.skipped.size(),
        seconds(start),
        device);
    return run.failed == 0 && run.passed > 0 ? 0 : 1;
  }

  /** The test classes that lie beside this one, in packages called {@code cuda}. */
  private static LauncherDiscoveryRequest tests() {
    Path classes =
        Path.of(GpuTestRun.class.getProtectionDomain().getCodeSource().getLocation().getPath());
    return LauncherDiscoveryRequestBuilder.request()
        .selectors(selectClasspathRoots(Set.of(classes)))
        .filters(includeClassNamePatterns(".*\\.cuda\\..*Test"))
        .build();
  }

  @Override
  public void executionStarted(TestIdentifier test) {
    if (isClass(test)) {
      classStart = System.nanoTime();
      passedBefore = passed;
      failedBefore = failed;
    }
  }

  @Override
  public void executionFinished(TestIdentifier test, TestExecutionResult result) {
    if (result.getStatus() == TestExecutionResult.Status.SUCCESSFUL) {
      passed += test.isTest() ? 1 : 0;
    } else if (result.getStatus() == TestExecutionResult.Status.ABORTED) {
      skipped.add(name(test) + ": " + result.getThrowable().map(Throwable::getMessage).orElse(""));
    } else {
      failed++;
      System.out.println("FAILED " + name(test));
      result.getThrowable().ifPresent(e -> e.printStackTrace(System.out));
    }
    if (isClass(test)) {
      System.out.printf(
          Locale.ROOT,
          "%-50s %4d passed, %d failed (%.1f s)%n",
          test.getDisplayName(),
          passed - passedBefore,
          failed - failedBefore,
          seconds(classStart));
    }
  }

  @Override
  public void executionSkipped(TestIdentifier test, String reason) {
    skipped.add(name(test) + ": " + reason);
  }

  private static boolean isClass(TestIdentifier test) {
    return test.getSource().filter(ClassSource.class::isInstance).isPresent();
  }

  private static String name(TestIdentifier test) {
    return test.getLegacyReportingName();
  }

  private static double seconds(long start) {
    return (System.nanoTime() - start) / 1e9;
  }
}
