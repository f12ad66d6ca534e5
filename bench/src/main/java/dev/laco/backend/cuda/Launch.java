package dev.laco.backend.cuda;

import dev.laco.backend.cuda.BenchDevice.Function;
import java.lang.foreign.MemorySegment;
import java.util.Locale;

/** A kernel with its grid and arguments. */
public final class Launch implements Runnable {
  private final CudaDriver driver;
  private final CudaStream stream;
  private final Function function;
  private final Grid grid;
  private final MemorySegment extra;

  Launch(CudaDriver driver, CudaStream stream, Function function, Grid grid, MemorySegment extra) {
    this.driver = driver;
    this.stream = stream;
    this.function = function;
    this.grid = grid;
    this.extra = extra;
  }

  /** Launches; the work is done later. */
  @Override
  public void run() {
    try {
      driver.launch(
          function.handle(),
          Math.toIntExact(grid.x()),
          Math.toIntExact(grid.y()),
          Math.toIntExact(grid.z()),
          grid.block(),
          grid.sharedBytes(),
          stream.handle(),
          extra);
    } catch (CudaException e) {
      throw e.about(String.format(Locale.ROOT, "kernel %s, %s", function.name(), grid));
    }
  }
}
