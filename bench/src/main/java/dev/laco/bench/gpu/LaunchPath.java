package dev.laco.bench.gpu;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.util.LinkedHashMap;
import java.util.Map;

/** What a launch costs the host: launches with next to nothing to do. */
final class LaunchPath implements AutoCloseable {
  /** Launches between two waits: fewer than a stream's queue takes without making the host wait. */
  static final int BATCH = 256;

  private final TensorArena arena;
  private final Launch nothing;
  private final Launch arguments;
  private final Tensor x;
  private final Tensor y;
  private final BenchDevice device;

  LaunchPath(BenchDevice device) {
    this.device = device;
    this.arena = device.arena();
    this.x = arena.allocate(DType.F32, 1, 1);
    this.y = arena.allocate(DType.F32, 1, 1);
    Grid grid = Grid.of(1, 32);
    this.nothing =
        device.launch(device.ownFunction("laco_bench_nothing_v1"), grid, new Arguments());
    this.arguments =
        device.launch(
            device.ownFunction("laco_bench_arguments_v1"),
            grid,
            new Arguments()
                .pointer(x)
                .pointer(x)
                .pointer(x)
                .pointer(x)
                .pointer(x)
                .pointer(x)
                .pointer(x)
                .pointer(0)
                .int32(1)
                .int32(1)
                .int32(1)
                .int32(0)
                .float32(1)
                .float32(0));
  }

  /** A kernel without parameters. */
  void nothing() {
    nothing.run();
  }

  /** A kernel with as many parameters as the longest of ours has, which are packed already. */
  void arguments() {
    arguments.run();
  }

  /** An op as the engine launches it, packing and checks included. */
  void engine() {
    device.addAsTheEngineDoes(x, y);
  }

  /** All of them, by what a report calls them. */
  Map<String, Runnable> all() {
    Map<String, Runnable> all = new LinkedHashMap<>();
    all.put("nothing", this::nothing);
    all.put("14 arguments", this::arguments);
    all.put("an op of the engine", this::engine);
    return all;
  }

  /**
   * Seconds of the host for one of {@link #BATCH} launches that the device was waited for before.
   */
  double seconds(Runnable launch) {
    device.synchronize();
    long start = System.nanoTime();
    for (int i = 0; i < BATCH; i++) {
      launch.run();
    }
    return (System.nanoTime() - start) / 1e9 / BATCH;
  }

  @Override
  public void close() {
    device.synchronize();
    arena.close();
  }
}
