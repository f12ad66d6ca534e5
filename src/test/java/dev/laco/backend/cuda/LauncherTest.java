package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.CudaBinding;
import dev.laco.model.DType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Arguments are checked against the table before a launch, and errors say what was launched. */
class LauncherTest {
  private CudaContext context;
  private CudaStream stream;
  private Launcher launcher;

  @BeforeEach
  void open() {
    EmulatedDevice.reset();
    CudaDriver driver = CudaProbe.driver(CudaBinding.FFM);
    context = new CudaContext(driver, CudaProbe.device(driver, 0));
    stream = new CudaStream(context);
    launcher = new Launcher(context, KernelImages.forDriver(driver.version()), stream);
  }

  @AfterEach
  void close() {
    context.close();
    EmulatedDevice.assertNothingLeaks();
  }

  @Test
  void argumentsThatDoNotFitAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> launcher.of(Kernel.NARROW, DType.F32));
    Launcher add = launcher.of(Kernel.ADD, DType.F32).pointer(0).pointer(0);
    assertThrows(IllegalStateException.class, () -> add.int32(1));
    assertThrows(IllegalStateException.class, () -> add.run(1, 256));
    add.int64(0);
    assertThrows(IllegalStateException.class, () -> add.int64(0));
    assertThrows(ArithmeticException.class, () -> add.run(1L << 31, 256));
  }

  @Test
  void anErrorNamesKernelGridAndBlock() {
    try (DeviceBuffer x = new DeviceBuffer(context, 16, "x")) {
      CudaException e =
          assertThrows(
              CudaException.class,
              () ->
                  launcher
                      .of(Kernel.ADD, DType.F32)
                      .pointer(x.address())
                      .pointer(x.address())
                      .int64(4)
                      .run(3, 2048));
      assertTrue(
          e.getMessage()
              .matches(
                  "cuLaunchKernel: CUDA_ERROR_INVALID_VALUE \\(1\\), .*; kernel laco_add_f32_v1,"
                      + " grid 3 x 1 x 1, block 2048, 0 bytes of shared memory"),
          e.getMessage());
    }
  }

  /** A kernel may have 48 KB in all without asking, its own arrays among them. */
  @ParameterizedTest
  @EnumSource(CudaBinding.class)
  @OnStandIn
  void sharedMemoryThatIsTooMuchTogetherIsAskedFor(CudaBinding binding) {
    EmulatedDevice.staticShared(1024);
    CudaDriver driver = CudaProbe.driver(binding);
    try (CudaContext other = new CudaContext(driver, CudaProbe.device(driver, 0))) {
      CudaStream work = new CudaStream(other);
      DeviceBuffer x = new DeviceBuffer(other, 16, "x");
      new Launcher(other, KernelImages.forDriver(driver.version()), work)
          .of(Kernel.ADD, DType.F32)
          .pointer(x.address())
          .pointer(x.address())
          .int64(4)
          .run(1, 1, 1, 256, 48 << 10);
      work.synchronize();
    }
  }

  @Test
  void aBufferThatIsClosedHasNoAddress() {
    DeviceBuffer buffer = new DeviceBuffer(context, 16, "test");
    buffer.close();
    buffer.close();
    assertThrows(IllegalStateException.class, buffer::address);
    PinnedBuffer pinned = new PinnedBuffer(context, 16, "test");
    pinned.close();
    assertThrows(IllegalStateException.class, pinned::segment);
    CudaEvent event = new CudaEvent(context);
    event.close();
    assertThrows(IllegalStateException.class, event::synchronize);
    stream.close();
    assertThrows(IllegalStateException.class, stream::synchronize);
  }

  @Test
  @OnStandIn
  void theContextClosesWhatItsOwnersLeft() {
    new DeviceBuffer(context, 16, "left");
    new PinnedBuffer(context, 16, "left");
    assertEquals(2, EmulatedDevice.liveAllocations());
    context.close();
    EmulatedDevice.assertNothingLeaks();
    assertThrows(IllegalStateException.class, context::enter);
  }
}
