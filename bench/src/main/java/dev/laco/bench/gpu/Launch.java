package dev.laco.bench.gpu;

import dev.laco.backend.cuda.KernelResources;
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

  /** What it takes of a multiprocessor. */
  KernelResources resources() {
    return runner.resources(function.handle(), grid.block(), grid.sharedBytes());
  }

  /** Launches; the work is done later. */
  @Override
  public void run() {
    runner.launch(
        function.handle(),
        function.name(),
        grid.blocks(),
        grid.block(),
        grid.cluster(),
        grid.sharedBytes(),
        extra);
  }
}
