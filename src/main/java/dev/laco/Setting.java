package dev.laco;

import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/**
 * The name of a setting in a message. Whoever shows the message decides how settings are called: a
 * program reads {@code mergeLayers}, the user of a command line {@code --merge-layers}.
 */
public final class Setting {
  // Private use characters, which no sensible text holds.
  private static final char BEGIN = '\uE0F0';
  private static final char END = '\uE0F1';
  private static final Pattern NAME = Pattern.compile(BEGIN + "([A-Za-z]+)" + END);

  private Setting() {}

  /** A setting, for a message that {@link #show} is applied to before somebody reads it. */
  public static String of(String name) {
    return BEGIN + name + END;
  }

  /** A message in which every setting is called as {@code names} says. */
  public static String show(String message, UnaryOperator<String> names) {
    return NAME.matcher(message).replaceAll(match -> names.apply(match.group(1)));
  }
}
