package dev.laco;

import org.jspecify.annotations.Nullable;

/**
 * The parts of an error that one value causes, for programs; people read the message of the error.
 *
 * @param what the setting, or the file and the key in it, that has the value
 * @param given the value
 * @param expected what the value may be; null where it is wrong only together with others
 * @param remedy what to do; null where any expected value will do
 */
public record Refusal(
    String what, String given, @Nullable String expected, @Nullable String remedy) {
  /** The parts of an error, in which settings are called by their names in requests. */
  public Refusal {
    expected = shown(expected);
    remedy = shown(remedy);
  }

  private static @Nullable String shown(@Nullable String text) {
    return text == null ? null : Setting.show(text, name -> name);
  }
}
