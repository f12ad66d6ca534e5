package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.ffi.LibrarySearch;
import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What both bindings of the driver must do. */
class CudaDriverTest {
  @Nested
  class Ffm extends Contract {
    Ffm() {
      super(CudaBinding.FFM);
    }
  }

  @Nested
  class Jcuda extends Contract {
    Jcuda() {
      super(CudaBinding.JCUDA);
    }
  }

  abstract static class Contract {
    private static final int INVALID_VALUE = 1;
    private static final int INVALID_DEVICE = 101;
    private static final int INVALID_HANDLE = 400;
    private static final int NOT_FOUND = 500;

    private final CudaBinding binding;
    private final Arena arena = Arena.ofConfined();
    private CudaDriver driver;
    private int device;

    Contract(CudaBinding binding) {
      this.binding = binding;
    }

    @BeforeEach
    void openDriver() {
      EmulatedDevice.reset();
      driver = CudaProbe.driver(binding);
      device = driver.device(0);
      driver.makeCurrent(driver.retainContext(device));
    }

    @AfterEach
    void closeDriver() {
      driver.releaseContext(device);
      EmulatedDevice.assertNothingLeaks();
      arena.close();
    }

    @Test
    void describesTheDevice() {
      assertEquals(binding, driver.binding());
      assertTrue(driver.version() >= 12_000);
      assertTrue(driver.deviceCount() >= 1);
      assertFalse(driver.name(device).isBlank());
      assertTrue(driver.totalMemory(device) > 1 << 30);
      assertTrue(driver.attribute(CudaDriver.CAPABILITY_MAJOR, device) >= 8);
    }

    @Test
    @OnStandIn
    void describesTheDeviceAsItIs() {
      EmulatedDevice.computeCapability(8, 6);
      EmulatedDevice.memory(3L << 30);
      assertEquals(1, driver.deviceCount());
      assertTrue(driver.name(device).contains("emulated"), driver.name(device));
      assertEquals(3L << 30, driver.totalMemory(device));
      assertEquals(8, driver.attribute(CudaDriver.CAPABILITY_MAJOR, device));
      assertEquals(6, driver.attribute(CudaDriver.CAPABILITY_MINOR, device));
    }

    /** A driver gives memory in pages, and other processes take some, too. */
    @Test
    void countsFreeMemory() {
      long bytes = 256L << 20;
      long before = driver.memory().free();
      assertTrue(driver.memory().total() >= before);
      long address = driver.allocate(bytes);
      long taken = driver.memory().free();
      assertTrue(taken <= before - bytes / 2, before + " bytes free before, " + taken + " after");
      driver.free(address);
      long after = driver.memory().free();
      assertTrue(after >= taken + bytes / 2, taken + " bytes free before, " + after + " after");
    }

    @Test
    void memoryGoesUpAcrossAndDown() {
      byte[] values = {1, -2, 3, 4, 5, -128, 127};
      long stream = driver.createStream();
      long a = driver.allocate(values.length);
      long b = driver.allocate(values.length);
      MemorySegment host = driver.allocateHost(values.length);
      assertEquals(0, a % 256);
      host.copyFrom(MemorySegment.ofArray(values));
      driver.copyToDevice(a, host, stream);
      driver.zero(b, values.length, stream);
      driver.copy(b + 1, a + 1, 5, stream);
      driver.synchronize(stream);
      driver.copyToHost(host, b, stream);
      driver.synchronize(stream);
      assertArrayEquals(new byte[] {0, -2, 3, 4, 5, -128, 0}, host.toArray(JAVA_BYTE));
      driver.freeHost(host);
      driver.free(a);
      driver.free(b);
      driver.destroyStream(stream);
    }

    @Test
    void pinnedMemoryIsAsLargeAsItIs() {
      MemorySegment host = driver.allocateHost(12345);
      assertEquals(12345, host.byteSize());
      driver.freeHost(host);
    }

    @Test
    void streamsWaitForEvents() {
      long first = driver.createStream();
      long second = driver.createStream();
      long event = driver.createEvent();
      assertNotEquals(first, second);
      driver.synchronizeEvent(event);
      driver.record(event, first);
      driver.await(second, event);
      driver.synchronizeEvent(event);
      driver.synchronize(second);
      driver.destroyEvent(event);
      driver.destroyStream(first);
      driver.destroyStream(second);
    }

    @Test
    void launchesAKernel() {
      float[] x = {1, 2, 3};
      long stream = driver.createStream();
      long a = driver.allocate(12);
      long b = driver.allocate(12);
      MemorySegment host = driver.allocateHost(12);
      host.copyFrom(MemorySegment.ofArray(x));
      driver.copyToDevice(a, host, stream);
      driver.copyToDevice(b, host, stream);
      long module = driver.loadModule(image("add"));
      long function = driver.function(module, Kernel.ADD.entry(DType.F32));
      driver.launch(function, 1, 1, 1, 256, 0, stream, extra(a, b, 3));
      driver.copyToHost(host, a, stream);
      driver.synchronize(stream);
      assertArrayEquals(new float[] {2, 4, 6}, host.toArray(ValueLayout.JAVA_FLOAT));
      driver.unloadModule(module);
      driver.freeHost(host);
      driver.free(a);
      driver.free(b);
      driver.destroyStream(stream);
    }

    @Test
    void everyErrorCarriesCallCodeNameAndText() {
      long module = driver.loadModule(image("add"));
      long function = driver.function(module, Kernel.ADD.entry(DType.F32));
      long stream = driver.createStream();
      assertFails("cuDeviceGet", INVALID_DEVICE, () -> driver.device(driver.deviceCount()));
      assertFails("cuMemAlloc", INVALID_VALUE, () -> driver.allocate(0));
      assertFails("cuMemAlloc", CudaException.OUT_OF_MEMORY, () -> driver.allocate(1L << 50));
      assertFails("cuModuleGetFunction", NOT_FOUND, () -> driver.function(module, "laco_absent"));
      assertFails(
          "cuLaunchKernel",
          INVALID_VALUE,
          () -> driver.launch(function, 1, 1, 1, 2048, 0, stream, extra(0, 0, 0)));
      assertFalse(driver.isPoisoned());
      driver.destroyStream(stream);
      driver.unloadModule(module);
    }

    @Test
    void anImageThatIsRefusedIsRefusedWithWhatTheCompilerOfTheDriverSays() {
      String text = ".version 7.0\n.target sm_80\n.address_size 64\nnonsense\n";
      CudaException e =
          assertThrows(CudaException.class, () -> driver.loadModule(arena.allocateFrom(text)));
      assertTrue(e.getMessage().contains("; the driver's compiler says: "), e.getMessage());
      assertEquals(1, e.getMessage().lines().count());
    }

    /** A real driver follows such handles and addresses, and the process ends. */
    @Test
    @OnStandIn
    void everyCallThatIsWrongIsChecked() {
      long stream = driver.createStream();
      MemorySegment host = driver.allocateHost(16);
      assertFails("cuMemFree", INVALID_VALUE, () -> driver.free(12345));
      assertFails("cuMemcpyHtoDAsync", INVALID_VALUE, () -> driver.copyToDevice(77, host, stream));
      assertFails("cuMemcpyDtoHAsync", INVALID_VALUE, () -> driver.copyToHost(host, 77, stream));
      assertFails("cuMemcpyDtoDAsync", INVALID_VALUE, () -> driver.copy(77, 78, 16, stream));
      assertFails("cuMemsetD8Async", INVALID_VALUE, () -> driver.zero(77, 16, stream));
      assertFails("cuStreamSynchronize", INVALID_HANDLE, () -> driver.synchronize(999));
      assertFalse(driver.isPoisoned());
      driver.freeHost(host);
      driver.destroyStream(stream);
    }

    /** Those that {@code cuda.h} says leave the context or the process without use. */
    @ParameterizedTest
    @ValueSource(
        ints = {214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, 999})
    @OnStandIn
    void aStickyErrorPoisonsTheDriver(int code) {
      long module = driver.loadModule(image("add"));
      long function = driver.function(module, Kernel.ADD.entry(DType.F32));
      long stream = driver.createStream();
      EmulatedDevice.failLaunch(1, code);
      // The device finds out later.
      driver.launching("laco_add");
      driver.launch(function, 1, 1, 1, 256, 0, stream, extra(0, 0, 0));
      assertFalse(driver.isPoisoned());
      CudaException e = assertFails("cuStreamSynchronize", code, () -> driver.synchronize(stream));
      assertTrue(e.getMessage().endsWith("; kernels were launched up to laco_add"), e.getMessage());
      assertTrue(driver.isPoisoned());
      assertFails("cuMemAlloc", code, () -> driver.allocate(16));
    }

    private static CudaException assertFails(String call, int code, Executable action) {
      CudaException e = assertThrows(CudaException.class, action);
      assertEquals(code, e.code(), e.getMessage());
      assertTrue(
          e.getMessage().matches(call + ": CUDA_ERROR_\\w+ \\(" + code + "\\), .+"),
          e.getMessage());
      return e;
    }

    private MemorySegment image(String file) {
      return KernelImages.forDriver(driver.version()).load(file, arena);
    }

    /** Arguments of {@code laco_add_f32_v1}, as cuLaunchKernel's extra array. */
    private MemorySegment extra(long x, long y, long n) {
      MemorySegment arguments = arena.allocateFrom(ValueLayout.JAVA_LONG, x, y, n);
      MemorySegment size = arena.allocateFrom(ValueLayout.JAVA_LONG, arguments.byteSize());
      return arena.allocateFrom(
          ValueLayout.JAVA_LONG, 1, arguments.address(), 2, size.address(), 0);
    }
  }

  @Test
  void aLibraryWithoutTheDriversFunctionsIsNoDriver() {
    String message =
        assertThrows(
                ResourceException.class,
                () -> new FfmDriver(new LibrarySearch("absent").soname("libc.so.6").load()))
            .getMessage();
    assertTrue(message.startsWith("libc.so.6 has no function cuInit"), message);
  }
}
