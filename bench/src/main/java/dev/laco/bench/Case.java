package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.cpu.CpuCores;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.infra.BenchmarkParams;

/**
 * What benchmarks share. A set-up method opens the backend, makes tensors, compares a result with
 * the reference backend's, and says what an invocation must do and what bounds it.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 1, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public abstract class Case {
  /** A {@link Device}. */
  @Param("avx512")
  public String device;

  /** Threads of the ops and of the ceilings; 0 for all. */
  @Param("0")
  public int threads;

  final MemoryArena arena = new MemoryArena();
  private Backend backend;
  private @Nullable Ceilings ceilings;
  private double bytes;
  private double operations;

  /** The backend that is measured. */
  final Backend open(Compute compute) {
    backend = Device.of(device).open(compute, threads);
    return backend;
  }

  /** The ceilings of this benchmark: none until they are added. */
  final Ceilings ceilings() {
    if (ceilings == null) {
      ceilings = new Ceilings(threads == 0 ? CpuCores.available() : threads);
    }
    return ceilings;
  }

  /** What one invocation must do. */
  final void work(double bytesMoved, double operationsDone) {
    bytes = bytesMoved;
    operations = operationsDone;
  }

  /** Seconds by op, where an invocation has several. */
  Map<String, Double> seconds() {
    return Map.of();
  }

  /** Samples the ceilings before each iteration. */
  @Setup(Level.Iteration)
  public final void sampleCeilings() {
    ceilings().sample();
  }

  /** Writes down what JMH does not carry. */
  @TearDown(Level.Trial)
  public final void finish(BenchmarkParams parameters) {
    new Note(
            parameters.id(),
            backend.info().name(),
            bytes,
            operations,
            ceilings().rates(),
            seconds(),
            null)
        .write();
    ceilings().close();
    backend.close();
    arena.close();
  }
}
