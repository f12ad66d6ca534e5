package dev.laco.cli;

import dev.laco.Setting;
import java.util.Locale;

/**
 * How a user of the command line calls a setting: {@code mergeLayers} is {@code --merge-layers}.
 */
final class OptionNames {
  private OptionNames() {}

  /** A message of the engine with options in the place of its settings. */
  static String in(String message) {
    return Setting.show(message, OptionNames::of);
  }

  private static String of(String setting) {
    return "--" + setting.replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
  }
}
