package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.cli.Main;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What depends on how a process finds its libraries. */
class CudaProcessTest {
  private static final String FIXTURE = "llama_untied_gqa";

  @TempDir Path folder;

  private final Map<String, String> properties = new LinkedHashMap<>();
  private final Map<String, String> environment = new LinkedHashMap<>();

  @BeforeEach
  void useTheEmulatedDevice() throws IOException {
    for (String property : EmulatedDevice.PROPERTIES) {
      properties.put(property, Path.of(System.getProperty(property)).toAbsolutePath().toString());
    }
    Path temporary = Files.createDirectory(folder.resolve("tmp"));
    properties.put("java.io.tmpdir", temporary.toString());
  }

  @ParameterizedTest
  @ValueSource(strings = {"ffm", "jcuda"})
  void aDriverThatLacksAFunctionIsNamed(String binding) throws IOException {
    environment.put("LACO_STANDIN_MISSING", "cuMemsetD8Async");
    ProgramRun run = eval(binding);
    assertEquals(4, run.code(), run.err());
    assertTrue(
        run.err().matches("laco: .*libcuda\\.so\\.1 has no function cuMemsetD8Async: .*\\R"),
        run.err());
  }

  @Test
  void jcudaLeavesNothingInTheTemporaryFolder() throws IOException {
    ProgramRun run = eval("jcuda");
    assertEquals(0, run.code(), run.err());
    assertTrue(run.out().contains(", jcuda)"), run.out());
    assertEquals(List.of(), TestFiles.names(folder.resolve("tmp")));
  }

  /** Like /tmp, where a library of another user may lie under the name that JCuda uses. */
  @Test
  void jcudaIsUnpackedWhereNobodyElseCanWrite() throws IOException {
    Path temporary = folder.resolve("tmp");
    Files.setAttribute(temporary, "unix:mode", 01777);
    Path planted = temporary.resolve("libJCudaDriver-12.6.0-linux-x86_64.so");
    Files.writeString(planted, "of another user");
    assertEquals(0, eval("jcuda").code());
    assertTrue(run("doctor").succeeded().out().contains("jcuda can be used too"));
    assertEquals(List.of(planted.getFileName().toString()), TestFiles.names(temporary));
  }

  @Test
  void whereJcudaCannotBeUnpackedTheOtherBindingIsNamed() throws IOException {
    properties.put("java.io.tmpdir", Files.createFile(folder.resolve("file")).toString());
    ProgramRun run = eval("jcuda");
    assertEquals(4, run.code(), run.err());
    assertTrue(
        run.err()
            .matches(
                "(?s).*laco: JCuda's driver binding does not load from java.io.tmpdir, which is \\Q"
                    + folder.resolve("file")
                    + "\\E: .*, or use --cuda-binding ffm, which needs no library of its own\\R"),
        run.err());
  }

  @ParameterizedTest
  @ValueSource(ints = {13_000, 12_040})
  void whereCublasIsNotFoundAllPlacesAreNamed(int driver) throws IOException {
    properties.remove("laco.native.cublas");
    environment.put("LACO_STANDIN_DRIVER_VERSION", Integer.toString(driver));
    environment.put("CUDA_HOME", folder.toString());
    ProgramRun run = eval("ffm");
    assumeTrue(run.code() != 0, "this machine has a cuBLAS");
    assertEquals(4, run.code(), run.err());
    assertTrue(run.err().startsWith("laco: --device cuda: no cuBLAS; "), run.err());
    // A cuBLAS 13 does not run with a driver of CUDA 12.
    assertEquals(driver == 13_000, run.err().contains("libcublas.so.13: cannot open"), run.err());
    assertTrue(run.err().contains("libcublas.so.12: cannot open"), run.err());
    assertTrue(run.err().contains(folder.resolve("lib64") + ": has none; "), run.err());
    assertTrue(run.err().contains("-Dlaco.native.cublas=FILE"), run.err());
    assertTrue(run.err().contains("pip install nvidia-cublas"), run.err());
  }

  /** cuBLAS follows them whatever it was asked for. */
  @Test
  void variablesThatBreakTheParityModeAreNamed() throws IOException {
    environment.put("NVIDIA_TF32_OVERRIDE", "1");
    environment.put("CUBLAS_EMULATE_SINGLE_PRECISION", "1");
    String warnings =
        "laco: warning: --compute f32: NVIDIA_TF32_OVERRIDE=1 lets cuBLAS multiply f32 with the 10"
            + " bits of TF32; unset it\n"
            + "laco: warning: --compute f32: CUBLAS_EMULATE_SINGLE_PRECISION=1 lets cuBLAS emulate"
            + " f32 products by those of bf16; unset it\n";
    assertEquals(warnings, eval("ffm", "--compute", "f32").succeeded().err());
    assertEquals("", eval("ffm", "--compute", "auto").succeeded().err());
    String found = run("doctor").succeeded().out();
    assertTrue(found.contains("\nNVIDIA_TF32_OVERRIDE 1 lets cuBLAS "), found);
    assertTrue(found.contains("\nCUBLAS_EMULATE_SINGLE_PRECISION 1 lets cuBLAS "), found);

    environment.put("NVIDIA_TF32_OVERRIDE", "0");
    environment.remove("CUBLAS_EMULATE_SINGLE_PRECISION");
    assertEquals("", eval("ffm", "--compute", "f32").succeeded().err());
  }

  @Test
  void aFitThatNothingSolvesIsRefusedBeforeTheSearch() throws IOException {
    properties.put("laco.native.cusolver", "/nowhere/libcusolver.so.12");
    properties.put("laco.native.openblas", "/nowhere/libopenblas.so.0");
    Path tokens = Fixtures.tokens(folder, FIXTURE, "calib");
    Path out = folder.resolve("out");
    ProgramRun run =
        run(
            "prune",
            Fixtures.model(FIXTURE),
            out,
            "--device",
            "cuda",
            "--rule",
            "fit",
            "--fit-text",
            tokens,
            "--calibration",
            tokens);
    assertEquals(4, run.code(), run.err());
    assertTrue(
        run.err()
            .matches(
                "laco: no cuSOLVER; .*/nowhere/libcusolver\\.so\\.12.*pip install nvidia-cusolver .*"
                    + "; no OpenBLAS; .*/nowhere/libopenblas\\.so\\.0.*libopenblas0.*--rule drop\\R"),
        run.err());
    assertEquals("", run.out());
    assertFalse(Files.exists(out));
  }

  /** Each wheel of CUDA 12 has a folder of its own. */
  @Test
  void cusolverIsFoundAmongPythonsWheels() throws IOException {
    Path standIns = Path.of(properties.remove("laco.native.cusolver")).getParent();
    Path wheels = folder.resolve("venv/lib/python3.11/site-packages/nvidia");
    Path cublas = Files.createDirectories(wheels.resolve("cublas/lib")).resolve("libcublas.so.12");
    Files.copy(standIns.resolve("libcublas.so.12"), cublas);
    properties.put("laco.native.cublas", cublas.toString());
    Path library =
        Files.createDirectories(wheels.resolve("cusolver/lib")).resolve("libcusolver.so.11");
    Files.copy(standIns.resolve("libcusolver.so.11"), library);
    environment.put("VIRTUAL_ENV", folder.resolve("venv").toString());
    ProgramRun run = run("doctor", "--json");
    assertEquals(0, run.code(), run.err());
    String found = run.json().get("cuSOLVER").textValue();
    assumeTrue(found.contains(folder.toString()), "this machine has a cuSOLVER");
    assertEquals("11.7.5, " + library, found);
  }

  private ProgramRun eval(String binding, Object... more) throws IOException {
    List<Object> arguments =
        new ArrayList<>(
            List.of(
                "eval",
                Fixtures.model(FIXTURE),
                "--tokens",
                TestFiles.write(folder.resolve("t.json"), "[[1, 2, 3]]"),
                "--device",
                "cuda",
                "--cuda-binding",
                binding));
    arguments.addAll(List.of(more));
    return run(arguments.toArray());
  }

  private ProgramRun run(Object... arguments) throws IOException {
    ProcessBuilder process = ProgramRun.java(Main.class, arguments);
    process.environment().putAll(environment);
    List<String> command = process.command();
    properties.forEach(
        (name, value) -> command.add(command.indexOf("-cp"), "-D" + name + "=" + value));
    return ProgramRun.of(process.start());
  }
}
