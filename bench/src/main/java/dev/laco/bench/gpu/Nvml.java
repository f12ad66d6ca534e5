package dev.laco.bench.gpu;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ResourceException;
import dev.laco.bench.gpu.CardState.Reason;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * NVIDIA's management library, {@code libnvidia-ml.so.1}, which comes with the driver. What a card
 * does not tell (a part of a card, or one of a virtual machine) is left out.
 */
final class Nvml implements CardSensors, AutoCloseable {
  /** {@code nvmlReturn_t nvmlInit_v2(void)}, and {@code nvmlShutdown}. */
  private static final MethodHandle PLAIN = Downcalls.ofInt();

  /**
   * {@code nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvmlDevice_t *device)}.
   */
  private static final MethodHandle BY_BUS_ID = Downcalls.ofInt(ADDRESS, ADDRESS);

  /**
   * {@code nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned
   * *megahertz)}, and {@code nvmlDeviceGetTemperature} with a sensor and degrees.
   */
  private static final MethodHandle OF_KIND = Downcalls.ofInt(JAVA_LONG, JAVA_INT, ADDRESS);

  /**
   * {@code nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *milliwatts)}, and
   * {@code nvmlDeviceGetCurrentClocksThrottleReasons} with 64 bits.
   */
  private static final MethodHandle VALUE = Downcalls.ofInt(JAVA_LONG, ADDRESS);

  private static final int SM_CLOCK = 1;
  private static final int MEMORY_CLOCK = 2;
  private static final int CHIP = 0;

  private final Arena arena = Arena.ofConfined();
  private final MemorySegment out = arena.allocate(JAVA_LONG);
  private final MemorySegment shutdown;
  private final MemorySegment clockInfo;
  private final MemorySegment temperature;
  private final MemorySegment powerUsage;
  private final MemorySegment throttleReasons;
  private final long card;

  /**
   * Finds a card.
   *
   * @param busId where it is, as the driver says
   * @throws ResourceException if the library is missing, does not start or does not know the card
   */
  Nvml(String busId) {
    NativeLibrary library = new LibrarySearch("nvml").soname("libnvidia-ml.so.1").load();
    shutdown = library.function("nvmlShutdown");
    clockInfo = library.function("nvmlDeviceGetClockInfo");
    temperature = library.function("nvmlDeviceGetTemperature");
    powerUsage = library.function("nvmlDeviceGetPowerUsage");
    throttleReasons = library.function("nvmlDeviceGetCurrentClocksThrottleReasons");
    MemorySegment init = library.function("nvmlInit_v2");
    MemorySegment byBusId = library.function("nvmlDeviceGetHandleByPciBusId_v2");
    require("nvmlInit", Downcalls.call(() -> (int) PLAIN.invokeExact(init)));
    MemorySegment id = arena.allocateFrom(busId);
    require(
        "nvmlDeviceGetHandleByPciBusId",
        Downcalls.call(() -> (int) BY_BUS_ID.invokeExact(byBusId, id, out)));
    card = out.get(JAVA_LONG, 0);
  }

  private static void require(String call, int status) {
    if (status != 0) {
      throw new ResourceException(String.format(Locale.ROOT, "%s: error %d", call, status));
    }
  }

  @Override
  public CardState read() {
    Integer milliwatts = told(() -> (int) VALUE.invokeExact(powerUsage, card, out));
    return new CardState(
        told(() -> (int) OF_KIND.invokeExact(clockInfo, card, SM_CLOCK, out)),
        told(() -> (int) OF_KIND.invokeExact(clockInfo, card, MEMORY_CLOCK, out)),
        milliwatts == null ? null : milliwatts / 1e3,
        told(() -> (int) OF_KIND.invokeExact(temperature, card, CHIP, out)),
        reasons());
  }

  private @Nullable List<Reason> reasons() {
    int status = Downcalls.call(() -> (int) VALUE.invokeExact(throttleReasons, card, out));
    return status == 0 ? Reason.of(out.get(JAVA_LONG, 0)) : null;
  }

  /** A number, null where the card does not tell it. */
  private @Nullable Integer told(Downcalls.Call<Integer> call) {
    return Downcalls.call(call) == 0 ? Integer.valueOf(out.get(JAVA_INT, 0)) : null;
  }

  @Override
  public void close() {
    Downcalls.call(() -> (int) PLAIN.invokeExact(shutdown));
    arena.close();
  }
}
