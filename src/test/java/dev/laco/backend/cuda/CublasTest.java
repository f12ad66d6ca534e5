package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which cuBLAS is taken, and by which binding. */
class CublasTest {
  private final Libraries libraries = new Libraries();

  @BeforeEach
  void reset() {
    EmulatedDevice.reset();
  }

  @AfterEach
  void restore() {
    libraries.restore();
  }

  /** JCuda calls cuBLAS 12 itself; its driver binding goes with a cuBLAS 13 through FFM. */
  @ParameterizedTest
  @CsvSource({"FFM,13", "FFM,12", "JCUDA,13", "JCUDA,12"})
  void eitherBindingMultipliesByEitherVersion(CudaBinding binding, int version) {
    libraries.take("cublas", version);
    for (DType dtype : DType.values()) {
      try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, binding);
          Arena memory = Arena.ofConfined()) {
        assertTrue(
            backend.info().name().contains("cuBLAS " + version + "."), backend.info().name());
        // out[r][o] = sum_i x[r][i] w[o][i], of small whole numbers.
        float[] found =
            product(backend, host(dtype, 2, 3, memory, 1, 2, 3, 4, 5, 6), 1, 0, 2, 3, 1, 1);
        assertArrayEquals(new float[] {7, 16, 8, 23}, found, dtype.toString());
      }
    }
    EmulatedDevice.assertNothingLeaks();
  }

  /**
   * A product that is written in bf16 is summed in f32 and rounded once. The numbers of bf16 from
   * 1024 on are multiples of 8: the sum of 1029 becomes 1032, but 1024 where its parts are rounded.
   */
  @ParameterizedTest
  @CsvSource({"FFM,13", "FFM,12", "JCUDA,13", "JCUDA,12"})
  void eitherBindingRoundsAProductOnce(CudaBinding binding, int version) {
    libraries.take("cublas", version);
    int in = 1028;
    double[] ones = new double[in];
    Arrays.fill(ones, 1);
    float[] x = new float[in];
    Arrays.fill(x, 1);
    x[0] = 2;
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, binding);
        Arena memory = Arena.ofConfined();
        TensorArena arena = backend.arena()) {
      Tensor input = arena.allocate(DType.F32, 1, in);
      Tensor out = arena.allocate(DType.BF16, 1, 1);
      backend.upload(x, input);
      backend.linear(input, backend.weight(host(DType.BF16, 1, in, memory, ones)), null, out);
      HostTensor found = HostTensor.allocate(memory, "out", DType.BF16, List.of(1L, 1L));
      backend.download(out, found);
      assertEquals(1032, MemoryTensor.of(found).get(0));
    }
    EmulatedDevice.assertNothingLeaks();
  }

  private static float[] product(Backend backend, HostTensor weight, float... x) {
    try (TensorArena arena = backend.arena()) {
      Tensor input = arena.allocate(DType.F32, 2, 3);
      Tensor out = arena.allocate(DType.F32, 2, 2);
      backend.upload(x, input);
      backend.linear(input, backend.weight(weight), null, out);
      float[] values = new float[4];
      backend.download(out, values);
      return values;
    }
  }

  private static HostTensor host(
      DType dtype, long rows, long columns, Arena memory, double... values) {
    MemorySegment data = memory.allocate(MemoryTensor.byteSize(dtype, rows, columns), 64);
    MemoryTensor tensor = new MemoryTensor(dtype, rows, columns, data);
    for (int i = 0; i < values.length; i++) {
      tensor.set(i, values[i]);
    }
    return new HostTensor("test", dtype, List.of(rows, columns), data);
  }

  @Test
  void aWrongLibraryIsNoCublas() {
    libraries.set("cublas", System.getProperty("laco.native.cuda"));
    NoCudaException e = assertThrows(NoCudaException.class, () -> CublasLibrary.find(13_000));
    assertEquals("no cuBLAS", e.reason());
    assertTrue(e.getMessage().contains("has no function cublasGetProperty"), e.getMessage());
  }

  @Test
  void foldersOfToolkitsComeBeforeThoseOfPython(@TempDir Path folder) throws IOException {
    Path environment = packages(folder.resolve("venv"), "site-packages");
    Path conda = packages(folder.resolve("conda"), "site-packages");
    Path system = packages(folder.resolve("usr"), "dist-packages");
    Path own = packages(folder.resolve("home/.local"), "site-packages");
    Path python = Files.createDirectories(folder.resolve("usr/bin")).resolve("python3");
    assertTrue(Files.createFile(python).toFile().setExecutable(true));
    List<Path> found =
        CudaFolders.libraries(
            "cublas",
            Map.of(
                "CUDA_HOME",
                "/opt/cuda",
                "CUDA_PATH",
                "/opt/other",
                "VIRTUAL_ENV",
                folder.resolve("venv").toString(),
                "CONDA_PREFIX",
                folder.resolve("conda").toString(),
                "PATH",
                "/nowhere:" + python.getParent(),
                "HOME",
                folder.resolve("home").toString()));
    assertEquals(
        List.of(
            Path.of("/opt/cuda/lib64"),
            Path.of("/opt/other/lib64"),
            Path.of("/usr/local/cuda/lib64"),
            environment.resolve("nvidia/cu13/lib"),
            environment.resolve("nvidia/cublas/lib"),
            conda.resolve("nvidia/cu13/lib"),
            conda.resolve("nvidia/cublas/lib"),
            system.resolve("nvidia/cu13/lib"),
            system.resolve("nvidia/cublas/lib"),
            own.resolve("nvidia/cu13/lib"),
            own.resolve("nvidia/cublas/lib")),
        found);
  }

  private static Path packages(Path prefix, String name) throws IOException {
    return Files.createDirectories(prefix.resolve("lib/python3.11").resolve(name));
  }
}
