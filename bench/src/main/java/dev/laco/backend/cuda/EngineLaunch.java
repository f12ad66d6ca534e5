package dev.laco.backend.cuda;

import dev.laco.backend.Tensor;
import dev.laco.model.DType;

/** An addition as the engine launches it: every time with new arguments, and checked. */
public final class EngineLaunch implements Runnable, AutoCloseable {
  private static final int BLOCK = 256;

  private final CudaContext context;
  private final Launcher launcher;
  private final Tensor x;
  private final Tensor y;

  EngineLaunch(CudaContext context, Launcher launcher, Tensor x, Tensor y) {
    this.context = context;
    this.launcher = launcher;
    this.x = x;
    this.y = y;
  }

  @Override
  public void run() {
    context.enter();
    launcher
        .of(Kernel.ADD, DType.F32)
        .pointer(BenchDevice.address(x))
        .pointer(BenchDevice.address(y))
        .int64(x.elements())
        .run(1, BLOCK);
  }

  @Override
  public void close() {
    launcher.close();
  }
}
