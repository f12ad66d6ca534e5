package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import dev.laco.ResourceException;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The stand-in driver that these tests run on, told to fail or to be another machine. It is one per
 * process: a test resets it first. Where the tests run on a real device, those that ask more of it
 * are skipped.
 */
public final class EmulatedDevice {
  /** Those that name the stand-ins to a process. */
  public static final List<String> PROPERTIES =
      List.of("laco.native.cuda", "laco.native.cublas", "laco.native.cusolver", "laco.cuda.images");

  private static final Set<Thread.State> WAITING =
      EnumSet.of(Thread.State.WAITING, Thread.State.TIMED_WAITING, Thread.State.TERMINATED);

  private static final NativeLibrary LIBRARY =
      new LibrarySearch("cuda").soname("libcuda.so.1").load();
  private static final boolean REAL = isReal();

  private EmulatedDevice() {}

  /** Whether the driver is the stand-in, as its own symbols say. */
  static boolean isThere() {
    return !REAL;
  }

  private static boolean isReal() {
    try {
      LIBRARY.function("laco_standin_reset");
      return false;
    } catch (ResourceException e) {
      return true;
    }
  }

  /** As it was when it was loaded. */
  public static void reset() {
    if (!REAL) {
      call("laco_standin_reset");
    }
  }

  /**
   * Checks that all memory was freed, and that nothing came back to the host that nobody had
   * written to, where that can be known.
   */
  public static void assertNothingLeaks() {
    if (!REAL) {
      assertEquals(0, liveAllocations());
      assertEquals(0, ask("laco_standin_unwritten_words"), "words that nobody had written to");
    }
  }

  /** The {@code nth} allocation from now on and all later ones fail, the first being 1. */
  public static void failAllocation(long nth) {
    call("laco_standin_fail_allocation", nth);
  }

  /** The {@code nth} launch from now on fails with {@code code}. */
  public static void failLaunch(long nth, int code) {
    call("laco_standin_fail_launch", nth, code);
  }

  /** What the driver says of its version. */
  public static void driverVersion(int version) {
    call("laco_standin_driver_version", version);
  }

  /** What the device says of its compute capability. */
  public static void computeCapability(int major, int minor) {
    call("laco_standin_compute_capability", major, minor);
  }

  /** How many devices there are. */
  public static void deviceCount(int count) {
    call("laco_standin_device_count", count);
  }

  /** So many of the first devices have a compute capability of 7, for which there is no kernel. */
  public static void oldDevices(int count) {
    call("laco_standin_old_devices", count);
  }

  /** Bytes of memory of the device. */
  public static void memory(long bytes) {
    call("laco_standin_memory", bytes);
  }

  /** Static shared memory of every kernel that is loaded from now on, beside its own. */
  public static void staticShared(long bytes) {
    call("laco_standin_static_shared", bytes);
  }

  /**
   * From now on the device computes nothing and only counts, so that it runs models of any size.
   */
  public static void countOnly() {
    call("laco_standin_count_only");
  }

  /** What the device was asked for, by name. */
  public static Map<String, Long> work() {
    assumeFalse(REAL, "needs the emulated device");
    try {
      MemorySegment text =
          (MemorySegment) Downcalls.ofAddress().invokeExact(LIBRARY.function("laco_standin_work"));
      Map<String, Long> work = new TreeMap<>();
      text.reinterpret(Long.MAX_VALUE)
          .getString(0)
          .lines()
          .map(line -> line.split("\t"))
          .forEach(entry -> work.put(entry[0], Long.parseLong(entry[1])));
      return work;
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  /** Launches so far. */
  public static long launches() {
    return ask("laco_standin_launches");
  }

  /** Allocations so far, pinned ones included. */
  public static long allocations() {
    return ask("laco_standin_allocations");
  }

  /** Allocations that were not freed. */
  public static long liveAllocations() {
    return ask("laco_standin_live_allocations");
  }

  /**
   * While they are held, waits of threads other than the one that opened the backend do not end,
   * and what these threads wait for is not done.
   */
  public static void holdOtherThreads(boolean hold) {
    call("laco_standin_hold_other_threads", hold ? 1 : 0);
  }

  /**
   * Lets other threads go once the calling thread waits for one of them.
   *
   * @return whether it has waited
   */
  public static AtomicBoolean letOtherThreadsGoOnceThisOneWaits() {
    Thread owner = Thread.currentThread();
    AtomicBoolean waited = new AtomicBoolean();
    Thread.ofPlatform()
        .daemon()
        .start(
            () -> {
              while (!WAITING.contains(owner.getState())) {
                Thread.onSpinWait();
              }
              waited.set(true);
              holdOtherThreads(false);
            });
    return waited;
  }

  /**
   * How often the thread that opened the backend waited for work of the device that the host did
   * not know to be done. Whoever frees device memory waits for all work.
   */
  public static long synchronizations() {
    return ask("laco_standin_synchronizations");
  }

  private static long ask(String function) {
    assumeFalse(REAL, "needs the emulated device");
    try {
      return (long) Downcalls.ofLong().invokeExact(LIBRARY.function(function));
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  private static void call(String function, Object... arguments) {
    assumeFalse(REAL, "needs the emulated device");
    MemoryLayout[] layouts = new MemoryLayout[arguments.length];
    Object[] all = new Object[arguments.length + 1];
    all[0] = LIBRARY.function(function);
    for (int i = 0; i < arguments.length; i++) {
      layouts[i] = arguments[i] instanceof Long ? JAVA_LONG : JAVA_INT;
      all[i + 1] = arguments[i];
    }
    MethodHandle handle = Downcalls.ofVoid(layouts);
    try {
      handle.invokeWithArguments(all);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }
}
