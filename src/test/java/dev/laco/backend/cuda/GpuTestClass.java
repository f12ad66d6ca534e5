package dev.laco.backend.cuda;

import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * One class of tests in the process that {@link GpuTestRun} starts for it: writes each result into
 * a file as soon as it is there, since the process may end with any test.
 */
public final class GpuTestClass implements TestExecutionListener {
  // What a line of the file begins with; behind it the name of the test, and why it was skipped.
  static final String STARTED = "started";
  static final String PASSED = "passed";
  static final String FAILED = "failed";
  static final String SKIPPED = "skipped";
  static final String ENDED = "ended";

  private final PrintWriter results;
  private boolean failed;

  private GpuTestClass(Writer results) {
    this.results = new PrintWriter(results, true);
  }

  /** Of the class that is named first; the second argument is the file for its results. */
  public static void main(String[] args) throws IOException {
    GpuTestClass run;
    try (Writer file = Files.newBufferedWriter(Path.of(args[1]))) {
      run = new GpuTestClass(file);
      LauncherFactory.create()
          .execute(
              LauncherDiscoveryRequestBuilder.request().selectors(selectClass(args[0])).build(),
              run);
      run.say(ENDED, args[0]);
    }
    System.exit(run.failed ? 1 : 0);
  }

  @Override
  public void executionStarted(TestIdentifier test) {
    if (test.isTest()) {
      say(STARTED, name(test));
    }
  }

  @Override
  public void executionFinished(TestIdentifier test, TestExecutionResult result) {
    switch (result.getStatus()) {
      case SUCCESSFUL -> {
        if (test.isTest()) {
          say(PASSED, name(test));
        }
      }
      case ABORTED ->
          say(
              SKIPPED,
              name(test) + ": " + result.getThrowable().map(Throwable::getMessage).orElse(""));
      case FAILED -> {
        failed = true;
        say(FAILED, name(test));
        System.out.println("FAILED " + name(test));
        result.getThrowable().ifPresent(e -> e.printStackTrace(System.out));
      }
    }
  }

  @Override
  public void executionSkipped(TestIdentifier test, String reason) {
    say(SKIPPED, name(test) + ": " + reason);
  }

  private void say(String what, String text) {
    results.println(what + " " + text.replaceAll("\\R", " "));
  }

  private static String name(TestIdentifier test) {
    return test.getUniqueIdObject().getSegments().stream()
        .skip(1)
        .map(segment -> segment.getValue().replaceAll("^dev\\.laco\\..*\\.|\\(.*\\)$|^#", ""))
        .reduce((left, right) -> left + "." + right)
        .orElse(test.getDisplayName());
  }
}
