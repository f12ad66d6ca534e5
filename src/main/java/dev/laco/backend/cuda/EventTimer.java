package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * Events that measure time, which those of {@link CudaEvent} do not, since that costs a write for
 * each. They are called through the JDK, whatever the binding is.
 */
final class EventTimer implements AutoCloseable {
  /** Pairs of events; more repetitions are measured in several goes. */
  private static final int PAIRS = 64;

  /** {@code CUresult cuEventCreate(CUevent *event, unsigned flags)}. */
  private static final MethodHandle CREATE = Downcalls.ofInt(ADDRESS, JAVA_INT);

  /** {@code CUresult cuEventRecord(CUevent event, CUstream stream)}. */
  private static final MethodHandle RECORD = Downcalls.ofInt(JAVA_LONG, JAVA_LONG);

  /** {@code CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)}. */
  private static final MethodHandle ELAPSED_TIME = Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_LONG);

  /** {@code CUresult cuEventDestroy_v2(CUevent event)}. */
  private static final MethodHandle DESTROY = Downcalls.ofInt(JAVA_LONG);

  private final MemorySegment create;
  private final MemorySegment record;
  private final MemorySegment elapsedTime;
  private final MemorySegment destroy;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment out = arena.allocate(JAVA_LONG);
  private final long[] starts = new long[PAIRS];
  private final long[] ends = new long[PAIRS];

  EventTimer(NativeLibrary driver) {
    create = driver.function("cuEventCreate");
    record = driver.function("cuEventRecord");
    elapsedTime = driver.function("cuEventElapsedTime");
    destroy = driver.function("cuEventDestroy_v2");
    for (int i = 0; i < PAIRS; i++) {
      starts[i] = create();
      ends[i] = create();
    }
  }

  /** As {@link KernelRunner#seconds}. */
  double[] seconds(CudaStream stream, int repetitions, Runnable before, Runnable work) {
    double[] seconds = new double[repetitions];
    for (int done = 0; done < repetitions; done += PAIRS) {
      int count = Math.min(PAIRS, repetitions - done);
      for (int i = 0; i < count; i++) {
        before.run();
        record(starts[i], stream);
        work.run();
        record(ends[i], stream);
      }
      stream.synchronize();
      for (int i = 0; i < count; i++) {
        seconds[done + i] = elapsed(starts[i], ends[i]);
      }
    }
    return seconds;
  }

  private long create() {
    int status;
    try {
      status = (int) CREATE.invokeExact(create, out, 0);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
    check("cuEventCreate", status);
    return out.get(JAVA_LONG, 0);
  }

  private void record(long event, CudaStream stream) {
    int status;
    try {
      status = (int) RECORD.invokeExact(record, event, stream.handle());
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
    check("cuEventRecord", status);
  }

  private double elapsed(long start, long end) {
    int status;
    try {
      status = (int) ELAPSED_TIME.invokeExact(elapsedTime, out, start, end);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
    check("cuEventElapsedTime", status);
    return out.get(JAVA_FLOAT, 0) / 1e3;
  }

  private static void check(String call, int status) {
    if (status != 0) {
      throw new CudaException(call, status, "error", "while timing");
    }
  }

  @Override
  public void close() {
    for (int i = 0; i < PAIRS; i++) {
      destroy(starts[i]);
      destroy(ends[i]);
    }
    arena.close();
  }

  private void destroy(long event) {
    int status;
    try {
      status = (int) DESTROY.invokeExact(destroy, event);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
    check("cuEventDestroy", status);
  }
}
