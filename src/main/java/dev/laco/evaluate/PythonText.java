package dev.laco.evaluate;

import java.util.Locale;

/** Methods of Python's {@code str}, by which lm-evaluation-harness makes its prompts. */
final class PythonText {
  private PythonText() {}

  /** {@code s.rstrip()}. */
  static String stripEnd(String text) {
    int end = text.length();
    while (end > 0 && isSpace(text.charAt(end - 1))) {
      end--;
    }
    return text.substring(0, end);
  }

  /** {@code s.strip()}. */
  static String strip(String text) {
    String ended = stripEnd(text);
    int start = 0;
    while (start < ended.length() && isSpace(ended.charAt(start))) {
      start++;
    }
    return ended.substring(start);
  }

  /** {@code s.capitalize()}: the first character in title case, all others in lower case. */
  static String capitalize(String text) {
    if (text.isEmpty()) {
      return text;
    }
    int first = text.codePointAt(0);
    int rest = Character.charCount(first);
    return Character.toString(Character.toTitleCase(first))
        + text.substring(rest).toLowerCase(Locale.ROOT);
  }

  /** {@code len(s)}. */
  static int length(String text) {
    return text.codePointCount(0, text.length());
  }

  /** {@code c.isspace()}; none of these characters is outside of the basic plane. */
  private static boolean isSpace(char c) {
    return Character.isWhitespace(c) || Character.isSpaceChar(c) || c == '\u0085';
  }
}
