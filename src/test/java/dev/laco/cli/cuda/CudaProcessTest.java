package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.Fixtures;
import dev.laco.cli.Laco;
import dev.laco.cli.Main;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
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
  @TempDir Path folder;

  private final Map<String, String> properties = new LinkedHashMap<>();
  private final Map<String, String> environment = new LinkedHashMap<>();

  @BeforeEach
  void useTheEmulatedDevice() throws IOException {
    for (String property : List.of("laco.native.cuda", "laco.native.cublas", "laco.cuda.images")) {
      properties.put(property, Path.of(System.getProperty(property)).toAbsolutePath().toString());
    }
    Path temporary = Files.createDirectory(folder.resolve("tmp"));
    properties.put("java.io.tmpdir", temporary.toString());
  }

  @ParameterizedTest
  @ValueSource(strings = {"ffm", "jcuda"})
  void aDriverThatLacksAFunctionIsNamed(String binding) throws IOException {
    environment.put("LACO_STANDIN_MISSING", "cuMemsetD8Async");
    Laco.Run run = eval(binding);
    assertEquals(4, run.code(), run.err());
    assertTrue(
        run.err().matches("laco: .*libcuda\\.so\\.1 has no function cuMemsetD8Async: .*\\R"),
        run.err());
  }

  @Test
  void jcudaLeavesNothingInTheTemporaryFolder() throws IOException {
    Laco.Run run = eval("jcuda");
    assertEquals(0, run.code(), run.err());
    assertTrue(run.out().contains(", jcuda)"), run.out());
    assertEquals(List.of(), Laco.names(folder.resolve("tmp")));
  }

  @Test
  void whereJcudaCannotBeUnpackedTheOtherBindingIsNamed() throws IOException {
    properties.put("java.io.tmpdir", Files.createFile(folder.resolve("file")).toString());
    Laco.Run run = eval("jcuda");
    assertEquals(4, run.code(), run.err());
    assertTrue(
        run.err()
            .matches(
                "(?s).*laco: JCuda's driver binding does not load: .*; --cuda-binding ffm needs no"
                    + " library of its own\\R"),
        run.err());
  }

  @ParameterizedTest
  @ValueSource(ints = {13_000, 12_040})
  void whereCublasIsNotFoundAllPlacesAreNamed(int driver) throws IOException {
    properties.remove("laco.native.cublas");
    environment.put("LACO_STANDIN_DRIVER_VERSION", Integer.toString(driver));
    environment.put("CUDA_HOME", folder.toString());
    Laco.Run run = eval("ffm");
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

  private Laco.Run eval(String binding) throws IOException {
    ProcessBuilder process =
        Laco.process(
            Main.class,
            "eval",
            Fixtures.model("llama_untied_gqa"),
            "--tokens",
            Laco.write(folder.resolve("t.json"), "[[1, 2, 3]]"),
            "--device",
            "cuda",
            "--cuda-binding",
            binding);
    process.environment().putAll(environment);
    List<String> command = process.command();
    properties.forEach(
        (name, value) -> command.add(command.indexOf("-cp"), "-D" + name + "=" + value));
    return Laco.finished(process.start());
  }
}
