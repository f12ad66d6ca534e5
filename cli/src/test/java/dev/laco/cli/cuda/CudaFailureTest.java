package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.cli.Laco;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every allocation and every launch of a whole prune fails in turn: a model of two layers, a few
 * tokens, one merge. Each time the run ends with exit code 4 and a message, nothing is written, and
 * nothing stays allocated.
 */
class CudaFailureTest {
  private static final String FIXTURE = "llama_mha_bias_f16";

  /** What a launch can end with; all but the last leave the context dead. */
  private static final int[] ERRORS = {700, 719, 716, 715, 717, 718, 710, 721, 214, 220, 701};

  @TempDir static Path models;

  @TempDir Path folder;

  @BeforeAll
  static void makeTwoLayers() {
    Laco.run(
            "prune",
            Fixtures.model(FIXTURE),
            models.resolve("two"),
            "--device",
            "cpu",
            "--target-layers",
            2,
            "--search",
            "laco",
            "--merge-layers",
            4,
            "--interval",
            1,
            "--lowest",
            0,
            "--calibration",
            tokens("calibration"),
            "--eval-tokens",
            tokens("evaluation"))
        .succeeded();
  }

  private static Path tokens(String name) {
    return TestFiles.write(models.resolve(name + ".json"), "[[1, 5, 9], [1, 2]]");
  }

  @BeforeEach
  void reset() {
    EmulatedDevice.reset();
  }

  @ParameterizedTest
  @ValueSource(strings = {"f32", "auto"})
  void everyAllocationFailsInTurn(String compute) {
    long live = EmulatedDevice.liveAllocations();
    prune(compute, "whole").succeeded();
    long allocations = EmulatedDevice.allocations();
    assertTrue(allocations > 30, "only " + allocations + " allocations");
    for (long nth = 1; nth <= allocations; nth++) {
      EmulatedDevice.reset();
      EmulatedDevice.failAllocation(nth);
      ProgramRun run = prune(compute, "out");
      String message = "allocation " + nth + ": " + run.err();
      assertTrue(
          run.err()
              .matches(
                  "(?s).*laco: out of memory on .*: [0-9,]+ bytes needed for .*,"
                      + " [0-9,]+ of [0-9,]+ bytes of device memory free; .*--device cpu\\R"),
          message);
      assertNothingIsLeft(run, live, message);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"f32", "auto"})
  void everyLaunchFailsInTurn(String compute) {
    long live = EmulatedDevice.liveAllocations();
    prune(compute, "whole").succeeded();
    long launches = EmulatedDevice.launches();
    assertTrue(launches > 60, "only " + launches + " launches");
    for (long nth = 1; nth <= launches; nth++) {
      EmulatedDevice.reset();
      int code = ERRORS[(int) (nth % ERRORS.length)];
      EmulatedDevice.failLaunch(nth, code);
      ProgramRun run = prune(compute, "out");
      String message = "launch " + nth + " with " + code + ": " + run.err();
      assertTrue(
          run.err().matches("laco: cu\\w+: .*\\b" + code + "\\b.*; kernel.* laco_\\w+.*\\R"),
          message);
      assertNothingIsLeft(run, live, message);
    }
  }

  private void assertNothingIsLeft(ProgramRun run, long live, String message) {
    assertEquals(4, run.code(), message);
    assertEquals(
        List.of("whole", "whole.report.html", "whole.report.json"),
        TestFiles.names(folder),
        message);
    assertEquals(live, EmulatedDevice.liveAllocations(), message);
    assertFalse(run.err().contains("\tat "), message);
  }

  @Test
  void aModelThatIsTooLargeIsRefusedBeforeItIsUploaded() {
    EmulatedDevice.memory(100 << 20);
    ProgramRun run = prune("f32", "out");
    assertEquals(4, run.code());
    assertTrue(
        run.err()
            .matches(
                "(?s).*laco: buffers and the weights that are in use at once need [0-9.]+ .B, free on"
                    + " cuda:0 .* are [0-9.]+ .B; give more memory, or use fewer .*--device cpu\\R"),
        run.err());
    assertFalse(Files.exists(folder.resolve("out")));
  }

  private ProgramRun prune(String compute, String out) {
    List<Object> arguments =
        new ArrayList<>(
            List.of(
                "prune",
                models.resolve("two"),
                folder.resolve(out),
                "--quiet",
                "--device",
                "cuda",
                "--compute",
                compute));
    arguments.addAll(
        List.of(
            "--merge-layers",
            2,
            "--lowest",
            0,
            "--threshold",
            -1,
            "--rule",
            "rdsc",
            "--calibration",
            models.resolve("calibration.json"),
            "--eval-tokens",
            models.resolve("evaluation.json")));
    return Laco.run(arguments.toArray());
  }
}
