package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.backend.Backend;
import dev.laco.backend.LinearSystem;
import dev.laco.backend.LinearSystem.Difference;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.ffi.NativeLibrary;
import dev.laco.linalg.Cholesky;
import dev.laco.model.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.LongSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What solves linear systems on the emulated device, and what happens where that fails. */
@OnStandIn
class CusolverTest {
  private static final int LAUNCH_FAILED = 719;

  private final Libraries libraries = new Libraries();

  @BeforeEach
  void reset() {
    EmulatedDevice.reset();
  }

  @AfterEach
  void restore() {
    libraries.restore();
  }

  /** JCuda solves triangles by cuBLAS 12; all else goes through FFM. */
  @ParameterizedTest
  @CsvSource({"FFM,13,12", "FFM,12,11", "JCUDA,13,12", "JCUDA,12,11"})
  void eitherBindingSolvesByEitherVersion(CudaBinding binding, int cublas, int cusolver) {
    libraries.take("cublas", cublas);
    libraries.take("cusolver", cusolver);
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, binding)) {
      assertTrue(
          backend.solver().name().matches("cuSOLVER " + cusolver + "\\.\\d+ on the device"),
          backend.solver().name());
      solve(backend);
    }
    EmulatedDevice.assertNothingLeaks();
  }

  @Test
  void whereThereIsNoCusolverTheHostSolves() {
    try {
      Cholesky.library();
    } catch (ResourceException e) {
      abort(e.getMessage());
    }
    libraries.set("cusolver", "/nowhere/libcusolver.so.12");
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      assertNull(backend.missingForSolver());
      assertEquals("OpenBLAS on the host, since there is no cuSOLVER", backend.solver().name());
      solve(backend);
    }
  }

  @Test
  void aWrongLibraryIsNoCusolver() {
    CublasLibrary cublas = CublasLibrary.find(13_000);
    libraries.set("cusolver", cublas.library().location());
    ResourceException e = assertThrows(ResourceException.class, () -> CusolverLibrary.find(cublas));
    assertTrue(
        e.getMessage()
            .matches(
                "no cuSOLVER; .* has no function cusolverGetProperty: .*; install .*pip install"
                    + " nvidia-cusolver .*nvidia-cusolver-cu12 .*"),
        e.getMessage());
  }

  @Test
  void theCusolverAndItsCompanionsAreThoseBesideTheCublas(@TempDir Path toolkit)
      throws IOException {
    Path cublas = Path.of(String.valueOf(System.getProperty("laco.native.cublas")));
    for (String file : List.of("libcublas.so.13", "libcusolver.so.12")) {
      Files.copy(cublas.resolveSibling(file), toolkit.resolve(file));
    }
    // Any library will do for those that the stand-in does not call.
    for (String file : List.of("libcusparse.so.12", "libnvJitLink.so.13")) {
      Files.copy(toolkit.resolve("libcublas.so.13"), toolkit.resolve(file));
    }
    libraries.set("cublas", toolkit.resolve("libcublas.so.13").toString());
    libraries.search("cusolver");
    NativeLibrary cusolver = CusolverLibrary.find(CublasLibrary.find(13_000)).library();
    assertEquals(toolkit.resolve("libcusolver.so.12").toString(), cusolver.location());
    String loaded = Files.readString(Path.of("/proc/self/maps"));
    for (String file : List.of("libcusparse.so.12", "libnvJitLink.so.13")) {
      assertTrue(loaded.contains(toolkit.resolve(file).toString()), file);
    }
  }

  @Test
  void aSystemThatIsTooLargeForItsSizesIsRefused() {
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      assertTrue(backend.solver().bytes(46_340, 1) > 8L * 46_340 * 46_340);
      for (long[] size : new long[][] {{46_341, 1}, {40_000, 60_000}, {1L << 33, 1}}) {
        ResourceException e =
            assertThrows(ResourceException.class, () -> backend.solver().bytes(size[0], size[1]));
        assertTrue(e.getMessage().contains("-Dlaco.native.cusolver=none"), e.getMessage());
        assertThrows(ResourceException.class, () -> backend.solver().system(size[0], size[1]));
      }
    }
  }

  @Test
  void everyAllocationFailsInTurn() {
    long all = costs(EmulatedDevice::allocations);
    for (long nth = 1; nth <= all; nth++) {
      EmulatedDevice.reset();
      long failing = nth;
      try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
        backend.solver();
        EmulatedDevice.failAllocation(failing);
        ResourceException e = assertThrows(ResourceException.class, () -> solve(backend));
        assertTrue(e.getMessage().startsWith("out of memory on "), e.getMessage());
      }
      EmulatedDevice.assertNothingLeaks();
    }
  }

  @Test
  void everyLaunchFailsInTurn() {
    long all = costs(EmulatedDevice::launches);
    assertTrue(all >= 10, "only " + all + " launches");
    for (long nth = 1; nth <= all; nth++) {
      EmulatedDevice.reset();
      long failing = nth;
      try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
        backend.solver();
        EmulatedDevice.failLaunch(failing, LAUNCH_FAILED);
        CudaException e = assertThrows(CudaException.class, () -> solve(backend));
        assertTrue(e.getMessage().contains("laco_"), e.getMessage());
      }
      EmulatedDevice.assertNothingLeaks();
    }
  }

  /** How much of something there is in {@link #solve}. */
  private static long costs(LongSupplier counter) {
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      backend.solver();
      long before = counter.getAsLong();
      solve(backend);
      return counter.getAsLong() - before;
    }
  }

  /** Ridge regression and whitening, of numbers that can be done in the head. */
  private static void solve(Backend backend) {
    try (LinearSystem system = backend.solver().system(2, 2);
        TensorArena arena = backend.arena()) {
      Tensor gram = tensor(backend, arena, 1, 1, 1, 7);
      Tensor cross = tensor(backend, arena, 8, 26, 2, 2);
      Tensor out = arena.allocate(DType.F32, 2, 2);
      system.ridge(new Difference(gram, null), new Difference(cross, null), 0.5, 0.75, out);
      // G + diag(0.5 (G_ii + 0.75 * 4)) = [[3, 1], [1, 12]].
      assertValues(backend, out, 2, 2, 22f / 35, 4f / 35);
      system.whitening(tensor(backend, arena, 4, 8, 8, 52), 4, 0, out);
      // G / 4 = [[1, 2], [2, 13]] = L L^T with L = [[1, 0], [2, 3]].
      assertValues(backend, out, 1, -2f / 3, 0, 1f / 3);
    }
  }

  private static Tensor tensor(Backend backend, TensorArena arena, float... values) {
    Tensor tensor = arena.allocate(DType.F32, 2, 2);
    backend.upload(values, tensor);
    return tensor;
  }

  private static void assertValues(Backend backend, Tensor tensor, float... expected) {
    float[] values = new float[4];
    backend.download(tensor, values);
    assertArrayEquals(expected, values, 1e-6f);
  }
}
