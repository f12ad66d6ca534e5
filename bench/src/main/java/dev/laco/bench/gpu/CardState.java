package dev.laco.bench.gpu;

import com.fasterxml.jackson.annotation.JsonIgnore;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * How a card is at a moment; null where it does not tell.
 *
 * @param clock of the multiprocessors, MHz
 * @param memoryClock MHz
 * @param watts that it draws
 * @param celsius of the chip
 * @param throttled why clocks are lower than they could be
 */
record CardState(
    @Nullable Integer clock,
    @Nullable Integer memoryClock,
    @Nullable Double watts,
    @Nullable Integer celsius,
    @Nullable List<Reason> throttled) {
  /** Why a card lowers its clocks, as {@code nvml.h} numbers the reasons. */
  enum Reason {
    SET_BY_USER(0x2, false),
    /** Usual in large products, which draw as much power as the card may. */
    POWER_CAP(0x4, false),
    HARDWARE_SLOWDOWN(0x8, true),
    SYNC_BOOST(0x10, false),
    THERMAL_SLOWDOWN(0x20, true),
    HARDWARE_THERMAL_SLOWDOWN(0x40, true),
    POWER_BRAKE(0x80, true),
    DISPLAY_CLOCKS(0x100, false);

    private final long bit;
    private final boolean spoils;

    /**
     * @param spoils whether times that were measured meanwhile are worth nothing
     */
    Reason(long bit, boolean spoils) {
      this.bit = bit;
      this.spoils = spoils;
    }

    /** The reasons of a set of bits; that the card is idle is none. */
    static List<Reason> of(long bits) {
      List<Reason> reasons = new ArrayList<>();
      for (Reason reason : values()) {
        if ((bits & reason.bit) != 0) {
          reasons.add(reason);
        }
      }
      return reasons;
    }

    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }
  }

  /** Whether it is so hot, or has so little power, that times are worth nothing. */
  @JsonIgnore
  boolean isSlowedDown() {
    return throttled != null && throttled.stream().anyMatch(reason -> reason.spoils);
  }

  /** {@code 1980 MHz, 312 W, 45 C, power cap}. */
  @Override
  public String toString() {
    List<String> parts = new ArrayList<>();
    if (clock != null) {
      parts.add(clock + " MHz");
    }
    if (watts != null) {
      parts.add(String.format(Locale.ROOT, "%.0f W", watts));
    }
    if (celsius != null) {
      parts.add(celsius + " C");
    }
    if (throttled != null && !throttled.isEmpty()) {
      parts.add(throttled.stream().map(Reason::toString).collect(Collectors.joining(" and ")));
    }
    return String.join(", ", parts);
  }
}
