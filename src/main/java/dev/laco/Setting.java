package dev.laco;

import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/**
 * A setting of a request, as messages name it. In a message it is a mark, and whoever shows the
 * message decides how settings are called: a program reads {@code mergeLayers}, the user of a
 * command line {@code --merge-layers}.
 *
 * @param name the name of the setting for programs
 */
public record Setting(String name) {
  // Characters of Unicode's private use area, which no text of a message holds.
  private static final char BEGIN = '\uE0F0';
  private static final char END = '\uE0F1';
  private static final Pattern NAME = Pattern.compile(BEGIN + "([A-Za-z]+)" + END);

  /** The setting that has a name. */
  public static Setting of(String name) {
    return new Setting(name);
  }

  /**
   * The mark that stands for the setting in a message until {@link #show} puts a name in its place.
   */
  @Override
  public String toString() {
    return BEGIN + name + END;
  }

  /** The message with every mark replaced by what {@code names} makes of the setting's name. */
  public static String show(String message, UnaryOperator<String> names) {
    return NAME.matcher(message).replaceAll(match -> names.apply(match.group(1)));
  }

  /**
   * The error that the setting cannot have a value: {@code threads 0: expected 1 to 1024}.
   *
   * @param given the value
   * @param expected the values that the setting can have
   */
  public UsageException refuse(Object given, String expected) {
    return new UsageException(
        this + " " + given + ": expected " + expected,
        new Refusal(name, String.valueOf(given), expected, null));
  }

  /**
   * The error that a value of the setting does not go with the rest of the request: {@code search
   * beam looks for a size: give a target, not threshold}.
   *
   * @param given the value
   * @param reason why not: what stands between value and remedy in the message
   * @param remedy what to do
   */
  public UsageException refuse(Object given, String reason, String remedy) {
    return new UsageException(
        this + " " + given + reason + remedy,
        new Refusal(name, String.valueOf(given), null, remedy));
  }
}
