package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import dev.laco.ProgramRun;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Disabled;
import org.junit.jupiter.api.Test;

/** {@code bin/gpu-test} comes to its summary whatever a class of tests does. */
@OnStandIn
class GpuTestRunTest {
  private static final String PLANTED = ".*GpuTestRunTest\\$.*Planted";

  /** Ends the process as a driver does that is given a bad handle. */
  static class AbortsPlanted {
    @Test
    void before() {}

    @Test
    void ends() throws Throwable {
      Linker linker = Linker.nativeLinker();
      linker
          .downcallHandle(linker.defaultLookup().findOrThrow("abort"), FunctionDescriptor.ofVoid())
          .invokeExact();
    }
  }

  static class FailsPlanted {
    @Test
    void fails() {
      fail("planted");
    }

    @Test
    void passes() {}
  }

  static class HangsPlanted {
    @Test
    void hangs() throws InterruptedException {
      Thread.sleep(Long.MAX_VALUE);
    }
  }

  static class PassesPlanted {
    @Test
    void passes() {}

    @Test
    @Disabled("planted")
    void isSkipped() {}
  }

  @Test
  void aClassThatEndsItsProcessIsOneFailure() throws Exception {
    ProgramRun run = gpuTest("AbortsPlanted|FailsPlanted|PassesPlanted");
    assertEquals(1, run.code(), run.err());
    List<String> lines = run.out().lines().toList();
    assertTrue(lines.getFirst().startsWith("device: cuda:0 ("), run.out());
    assertTrue(
        run.out()
            .contains(
                "\nFAILED: dev.laco.backend.cuda.GpuTestRunTest$AbortsPlanted: the process ended with"
                    + " exit code 134 in GpuTestRunTest$AbortsPlanted.ends\n"),
        run.out());
    assertTrue(run.out().contains("\nFAILED: GpuTestRunTest$FailsPlanted.fails\n"), run.out());
    assertTrue(
        run.out().contains("\nskipped: GpuTestRunTest$PassesPlanted.isSkipped: "), run.out());
    assertTrue(
        lines.getLast().matches("gpu-test: 3 passed, 2 failed, 1 skipped in \\d+ s"), run.out());
  }

  @Test
  void aClassThatHangsIsOneFailure() throws Exception {
    ProgramRun run = gpuTest("--limit", "10", "HangsPlanted");
    assertEquals(1, run.code(), run.err());
    assertTrue(
        run.out().contains("HangsPlanted: the process was not done after 10 s in "), run.out());
    assertTrue(run.out().contains("gpu-test: 0 passed, 1 failed, 0 skipped"), run.out());
  }

  /** As gpu-test asks compute-sanitizer to end where it found something. */
  @Test
  void whatASanitizerFindsIsOneFailure() throws Exception {
    List<String> sanitizer = List.of("/bin/sh", "-c", "\"$@\"; exit 9", "sanitizer");
    List<String> arguments = new ArrayList<>(List.of("PassesPlanted"));
    sanitizer.forEach(word -> arguments.addAll(List.of("--under", word)));
    ProgramRun run = gpuTest(arguments.toArray(String[]::new));
    assertEquals(1, run.code(), run.err());
    assertTrue(
        run.out()
            .contains(
                "\nFAILED: dev.laco.backend.cuda.GpuTestRunTest$PassesPlanted: compute-sanitizer"
                    + " found errors\n"),
        run.out());
    assertTrue(run.out().contains("\ngpu-test: 1 passed, 1 failed, 1 skipped in "), run.out());
  }

  @Test
  void aNameThatNoClassHasIsRefused() throws Exception {
    ProgramRun run = gpuTest("NoSuchClass");
    assertEquals(2, run.code(), run.out());
    assertEquals("laco: gpu-test: no class of tests has NoSuchClass in its name\n", run.err());
    assertEquals(2, gpuTest("(").code());
    assertEquals(2, gpuTest("--limit", "0").code());
  }

  @Test
  void withoutADeviceItSaysSo() throws Exception {
    ProgramRun run = gpuTest(PLANTED, Map.of("LACO_STANDIN_DEVICES", "0"), "PassesPlanted");
    assertEquals(4, run.code(), run.err());
    assertTrue(run.err().contains("the NVIDIA driver sees no GPU"), run.err());
  }

  /** The tests of this package that a real driver takes hand it nothing that it would die of. */
  @Test
  void nothingThatARealDriverDiesOfIsHandedToIt() throws Exception {
    ProgramRun run =
        gpuTest(
            "dev\\.laco\\.backend\\.cuda\\..*Test",
            Map.of("LACO_STANDIN_REAL", "1"),
            "CudaDriverTest|LauncherTest|CudaOpsTest");
    assertEquals(0, run.code(), run.out() + run.err());
    assertTrue(run.out().contains("needs the emulated device"), run.out());
  }

  private static ProgramRun gpuTest(String... arguments) throws Exception {
    return gpuTest(PLANTED, Map.of(), arguments);
  }

  private static ProgramRun gpuTest(
      String classes, Map<String, String> environment, String... arguments) throws Exception {
    ProcessBuilder process = ProgramRun.java(GpuTestRun.class, (Object[]) arguments);
    process.environment().putAll(environment);
    List<String> command = process.command();
    int at = command.indexOf("-cp");
    command.add(at, "-Dlaco.gpu-test.classes=" + classes);
    for (String property : EmulatedDevice.PROPERTIES) {
      String value = System.getProperty(property);
      if (value != null) {
        command.add(
            at, String.format(Locale.ROOT, "-D%s=%s", property, Path.of(value).toAbsolutePath()));
      }
    }
    return ProgramRun.of(process.start());
  }
}
