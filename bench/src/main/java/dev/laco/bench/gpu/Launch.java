package dev.laco.bench.gpu;

import dev.laco.backend.cuda.KernelRunner;
import dev.laco.bench.gpu.BenchDevice.Function;
import java.lang.foreign.MemorySegment;

/** A kernel with its grid and arguments. */
final class Launch implements Runnable {
  private final KernelRunner runner;
  private final Function function;
  private final Grid grid;
  private final MemorySegment extra;

  Launch(KernelRunner runner, Function function, Grid grid, MemorySegment extra) {
    this.runner = runner;
    this.function = function;
    this.grid = grid;
    this.extra = extra;
  }

  /** Launches; the work is done later. */
  @Override
  public void run() {
    runner.launch(
        function.handle(),
        function.name(),
        grid.x(),
        grid.y(),
        grid.z(),
        grid.block(),
        grid.sharedBytes(),
        extra);
  }
}
