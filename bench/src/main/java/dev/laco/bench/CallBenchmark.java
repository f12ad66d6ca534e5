package dev.laco.bench;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Setup;

/**
 * What it costs to call native code: bare, with a kernel's arguments, and a whole op on one number.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class CallBenchmark extends Case {
  private Backend backend;
  private MemoryTensor one;
  private MemoryTensor other;

  @Setup(Level.Trial)
  public void prepare() {
    backend = open(Compute.F32);
    one = Values.random(arena, DType.F32, 1, 1, 1, 1);
    other = arena.allocate(DType.F32, 1, 1);
    float before = one.get(0);
    other.set(0, 1);
    backend.add(one, other);
    Values.requireClose("sum", one.get(0), before + 1, 0);
    other.set(0, 0);
  }

  @Benchmark
  public void nothing() throws Throwable {
    NativeCeiling.NOTHING.invokeExact();
  }

  @Benchmark
  public void nothingCritical() throws Throwable {
    NativeCeiling.NOTHING_CRITICAL.invokeExact();
  }

  @Benchmark
  public int arguments() throws Throwable {
    MemorySegment a = one.data();
    return (int) NativeCeiling.ARGUMENTS.invokeExact(a, 0, 1L, a, a, a, 1L);
  }

  /** Checks, the call that sets the threads, and the kernel. */
  @Benchmark
  public void smallestOp() {
    backend.add(one, other);
  }
}
