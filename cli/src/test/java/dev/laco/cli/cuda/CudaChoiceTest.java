package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.cli.Laco;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which device a run takes, and what a user is told where that cannot be a GPU. */
class CudaChoiceTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  private final Map<String, String> properties = new HashMap<>();

  @TempDir Path folder;

  @BeforeEach
  void reset() {
    EmulatedDevice.reset();
  }

  @AfterEach
  void restoreProperties() {
    properties.forEach(
        (property, value) -> {
          if (value == null) {
            System.clearProperty(property);
          } else {
            System.setProperty(property, value);
          }
        });
  }

  private void set(String property, Object value) {
    properties.put(property, System.setProperty(property, value.toString()));
  }

  @Test
  void autoTakesTheFirstGpuAndSaysSo() {
    assertTrue(eval("auto").startsWith("cuda:0 ("), eval("auto"));
    assertTrue(eval("auto").contains("; auto: the first GPU"), eval("auto"));
  }

  @Test
  void autoTakesTheNextGpuWhereTheFirstCannotBeUsed() {
    EmulatedDevice.deviceCount(2);
    EmulatedDevice.oldDevices(1);
    String taken = eval("auto");
    assertTrue(
        taken.matches("cuda:1 .*; auto: cuda:0 .*: kernels need compute capability 8\\.0"), taken);
    assertTrue(eval("cuda:1").startsWith("cuda:1 ("));
    JsonNode report = Laco.run("doctor", "--json").succeeded().json();
    assertEquals("usable", report.get("cuda").textValue());
  }

  @Test
  void theDeviceSaysThatItIsEmulatedAndByWhichBindingItIsCalled() {
    String ffm = eval("cuda");
    assertTrue(
        ffm.matches(
            "cuda:0 \\(.*emulated.*, driver 1\\d\\.\\d, cuBLAS 1\\d\\.\\d, ffm\\), f32 products"),
        ffm);
    String jcuda = device(Laco.run(arguments("cuda:0", "--cuda-binding", "jcuda")).succeeded());
    assertEquals(ffm.replace("ffm", "jcuda"), jcuda);
  }

  @Test
  void withoutADriver() {
    set("laco.native.cuda", "/nowhere/libcuda.so.1");
    assertCannot("no NVIDIA driver", ".*/nowhere/libcuda\\.so\\.1.*; install the NVIDIA driver");
  }

  /** A library that is no driver has none of its functions. */
  @Test
  void autoTakesTheProcessorWhereTheDriverLacksAFunction() {
    set("laco.native.cuda", "libm.so.6");
    String taken = eval("auto");
    assertTrue(taken.matches("cpu \\(.*\\), f32 products; auto: .*libm\\.so\\.6.*"), taken);
  }

  @Test
  void withAnOldDriver() {
    EmulatedDevice.driverVersion(11_080);
    assertCannot(
        "the NVIDIA driver is too old: it supports CUDA 11\\.8",
        "update it to 525 \\(CUDA 12\\.0\\) or newer");
  }

  @Test
  void withoutAGpu() {
    EmulatedDevice.deviceCount(0);
    assertCannot("the NVIDIA driver sees no GPU", "see what nvidia-smi says .*");
  }

  @Test
  void withAnOldCard() {
    EmulatedDevice.computeCapability(7, 5);
    assertCannot(
        "cuda:0 .*, compute capability 7\\.5: kernels need compute capability 8\\.0",
        "use a card of the Ampere generation .*");
  }

  @Test
  void withoutCublas() {
    set("laco.native.cublas", "/nowhere/libcublas.so.13");
    assertCannot(
        "no cuBLAS",
        ".*/nowhere/libcublas\\.so\\.13.*pip install nvidia-cublas .*nvidia-cublas-cu12.*");
  }

  @Test
  void withoutKernels() {
    set("laco.cuda.images", folder);
    assertCannot(
        "this build has no CUDA kernels \\(.*\\.fatbin is missing .*\\)",
        "build it after scripts/cuda_toolchain, .*");
  }

  @Test
  void aDeviceThatIsNotThereIsNamed() {
    EmulatedDevice.deviceCount(2);
    ProgramRun run = Laco.run(arguments("cuda:2"));
    assertEquals(4, run.code());
    assertTrue(
        run.err()
            .matches(
                "laco: --device cuda:2: there is no cuda:2; devices are cuda:0 to cuda:1, .*\\R"),
        run.err());
    assertTrue(eval("cuda:1").startsWith("cuda:1 ("), eval("cuda:1"));
  }

  @Test
  void doctorDescribesTheDevice() {
    EmulatedDevice.driverVersion(13_000);
    JsonNode report = Laco.run("doctor", "--json").succeeded().json();
    assertEquals("usable", report.get("cuda").textValue());
    assertTrue(report.get("cudaDriver").textValue().startsWith("13.0, "), report::toString);
    assertTrue(report.get("cuda:0").textValue().contains("emulated"), report::toString);
    assertTrue(report.get("cuda:0").textValue().contains("compute capability"), report::toString);
    assertTrue(report.get("cuBLAS").textValue().startsWith("13."), report::toString);
    assertTrue(report.get("cuSOLVER").textValue().startsWith("12."), report::toString);
    assertTrue(report.get("cudaBinding").textValue().startsWith("ffm, "), report::toString);
  }

  @Test
  void doctorSaysWhereSystemsAreSolvedWithoutCusolver() {
    set("laco.native.cusolver", "/nowhere/libcusolver.so.12");
    JsonNode report = Laco.run("doctor", "--json").succeeded().json();
    assertEquals("usable", report.get("cuda").textValue());
    String found = report.get("cuSOLVER").textValue();
    assertTrue(
        found.matches(
            "not found, rules that fit solve on the host: no cuSOLVER; .*/nowhere/.*pip install"
                + " nvidia-cusolver .*"),
        found);
  }

  @Test
  void aFitSaysWhereItsSystemsWereSolved() {
    assertEquals("cuSOLVER 12.0 on the device", fitSolver());
    set("laco.native.cusolver", "/nowhere/libcusolver.so.12");
    assertEquals("OpenBLAS on the host, since there is no cuSOLVER", fitSolver());
  }

  /** Of the report, which the line for people repeats. */
  private String fitSolver() {
    Path tokens = Fixtures.tokens(folder, FIXTURE, "calib");
    Object[] arguments = {
      "prune",
      MODEL,
      "--dry-run",
      "--device",
      "cuda",
      "--target-layers",
      6,
      "--search",
      "beam",
      "--rule",
      "fit",
      "--fit-text",
      tokens,
      "--calibration",
      tokens,
      "--report",
      folder.resolve("report.json")
    };
    ProgramRun run = Laco.run(arguments).succeeded();
    String solver = Fixtures.read(folder.resolve("report.json")).at("/fit/solver").textValue();
    assertTrue(run.out().contains(" tokens, by " + solver + "\n"), run.out());
    return solver;
  }

  /**
   * {@code --device cuda} stops, doctor tells what to do, and auto takes the processor and says
   * why.
   */
  private void assertCannot(String reason, String help) {
    Path out = folder.resolve("out");
    ProgramRun run =
        Laco.run(
            "prune",
            MODEL,
            out,
            "--device",
            "cuda",
            "--calibration",
            Fixtures.tokens(folder, FIXTURE, "calib"));
    assertEquals(4, run.code());
    assertEquals("", run.out());
    String message = reason + "; " + help + ", or use --device cpu";
    assertTrue(run.err().matches("laco: --device cuda: " + message + "\\R"), run.err());
    assertFalse(Files.exists(out));
    String found = Laco.run("doctor", "--json").succeeded().json().get("cuda").textValue();
    assertTrue(found.matches("not usable: " + message), found);
    String taken = eval("auto");
    assertTrue(taken.matches("cpu \\(.*\\), f32 products; auto: " + reason), taken);
  }

  /** The device that an eval took, as it says so. */
  private String eval(String device) {
    return device(Laco.run(arguments(device)).succeeded());
  }

  private Object[] arguments(String device, Object... more) {
    Object[] first = {
      "eval",
      MODEL,
      "--tokens",
      TestFiles.write(folder.resolve("t.json"), "[[1, 2, 3]]"),
      "--device",
      device
    };
    Object[] all = java.util.Arrays.copyOf(first, first.length + more.length);
    System.arraycopy(more, 0, all, first.length, more.length);
    return all;
  }

  private static String device(ProgramRun run) {
    return run.out().lines().findFirst().orElseThrow().replaceFirst("^device +", "");
  }
}
