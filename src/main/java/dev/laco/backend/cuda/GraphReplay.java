package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * Work of a stream that was captured as a graph, to be queued any number of times by one call each:
 * between its kernels the device does not wait for the host. The driver is called through the JDK,
 * whatever the binding is.
 */
public final class GraphReplay implements Runnable, AutoCloseable {
  /** {@code CU_STREAM_CAPTURE_MODE_THREAD_LOCAL}. */
  private static final int THREAD_LOCAL = 1;

  /** {@code CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)}. */
  private static final MethodHandle BEGIN = Downcalls.ofInt(JAVA_LONG, JAVA_INT);

  /** {@code CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)}. */
  private static final MethodHandle END = Downcalls.ofInt(JAVA_LONG, ADDRESS);

  /**
   * {@code CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long
   * long flags)}.
   */
  private static final MethodHandle INSTANTIATE = Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_LONG);

  /** {@code CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)}. */
  private static final MethodHandle LAUNCH = Downcalls.ofInt(JAVA_LONG, JAVA_LONG);

  /** {@code CUresult cuGraphDestroy(CUgraph graph)}, and the same of a {@code CUgraphExec}. */
  private static final MethodHandle DESTROY = Downcalls.ofInt(JAVA_LONG);

  private final CudaStream stream;
  private final MemorySegment launch;
  private final MemorySegment destroy;
  private final long executable;

  /**
   * Captures.
   *
   * @param work queues launches and copies, and waits for nothing
   */
  GraphReplay(NativeLibrary driver, CudaStream stream, Runnable work) {
    this.stream = stream;
    this.launch = driver.function("cuGraphLaunch");
    this.destroy = driver.function("cuGraphExecDestroy");
    MemorySegment begin = driver.function("cuStreamBeginCapture_v2");
    MemorySegment end = driver.function("cuStreamEndCapture");
    MemorySegment instantiate = driver.function("cuGraphInstantiateWithFlags");
    MemorySegment destroyGraph = driver.function("cuGraphDestroy");
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(JAVA_LONG);
      long handle = stream.handle();
      call("cuStreamBeginCapture", () -> (int) BEGIN.invokeExact(begin, handle, THREAD_LOCAL));
      work.run();
      call("cuStreamEndCapture", () -> (int) END.invokeExact(end, handle, out));
      long graph = out.get(JAVA_LONG, 0);
      call(
          "cuGraphInstantiateWithFlags",
          () -> (int) INSTANTIATE.invokeExact(instantiate, out, graph, 0L));
      executable = out.get(JAVA_LONG, 0);
      call("cuGraphDestroy", () -> (int) DESTROY.invokeExact(destroyGraph, graph));
    }
  }

  /** Queues all of the work. */
  @Override
  public void run() {
    call("cuGraphLaunch", () -> (int) LAUNCH.invokeExact(launch, executable, stream.handle()));
  }

  @Override
  public void close() {
    call("cuGraphExecDestroy", () -> (int) DESTROY.invokeExact(destroy, executable));
  }

  private static void call(String name, Downcalls.Call<Integer> call) {
    int status = Downcalls.call(call);
    if (status != 0) {
      throw new CudaException(name, status, "error", "while replaying a graph");
    }
  }
}
