package dev.laco.bench.gpu;

import java.util.List;
import java.util.Map;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.infra.BenchmarkParams;

/** What a launch costs the host, without what the device takes for it. */
public class LaunchBenchmark extends GpuCase {
  private BenchDevice device;
  private LaunchPath path;

  @Setup(Level.Trial)
  public void prepare() {
    device = open();
    path = new LaunchPath(device);
  }

  /** The queue is empty at the beginning of a batch. */
  @Setup(Level.Invocation)
  public void synchronize() {
    device.synchronize();
  }

  @Benchmark
  @OperationsPerInvocation(LaunchPath.BATCH)
  public void nothing() {
    for (int i = 0; i < LaunchPath.BATCH; i++) {
      path.nothing();
    }
  }

  @Benchmark
  @OperationsPerInvocation(LaunchPath.BATCH)
  public void arguments() {
    for (int i = 0; i < LaunchPath.BATCH; i++) {
      path.arguments();
    }
  }

  /** An op, its arguments packed and checked. */
  @Benchmark
  @OperationsPerInvocation(LaunchPath.BATCH)
  public void engine() {
    for (int i = 0; i < LaunchPath.BATCH; i++) {
      path.engine();
    }
  }

  @TearDown(Level.Trial)
  public void close(BenchmarkParams parameters) {
    path.close();
    finish(parameters, device, 0, 0, List.of(), Map.of());
  }
}
