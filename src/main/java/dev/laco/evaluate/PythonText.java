package dev.laco.evaluate;

import java.util.Locale;

/**
 * Methods of Python's {@code str}, by which lm-evaluation-harness makes its prompts, and literals.
 */
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

  /**
   * What Python prints of lists, dictionaries, texts, numbers, {@code True}, {@code False} and
   * {@code None}, as JSON. What is none of these stays as it is, so that a reader of JSON refuses
   * it.
   */
  static String json(String printed) {
    StringBuilder json = new StringBuilder();
    int place = 0;
    while (place < printed.length()) {
      char c = printed.charAt(place);
      if (c == '\'' || c == '"') {
        place = quoted(printed, place, json);
      } else if (Character.isLetter(c)) {
        int end = place;
        while (end < printed.length() && Character.isLetter(printed.charAt(end))) {
          end++;
        }
        String word = printed.substring(place, end);
        json.append(
            switch (word) {
              case "True" -> "true";
              case "False" -> "false";
              case "None" -> "null";
              default -> word;
            });
        place = end;
      } else {
        json.append(c);
        place++;
      }
    }
    return json.toString();
  }

  /** Writes a text of Python as one of JSON, and returns the place behind it. */
  private static int quoted(String printed, int begin, StringBuilder json) {
    char quote = printed.charAt(begin);
    json.append('"');
    int place = begin + 1;
    while (place < printed.length() && printed.charAt(place) != quote) {
      char c = printed.charAt(place++);
      if (c == '"') {
        json.append("\\\"");
      } else if (c != '\\' || place == printed.length()) {
        json.append(c);
      } else {
        char escaped = printed.charAt(place++);
        switch (escaped) {
          case '\'' -> json.append('\'');
          // Two digits in Python, four in JSON.
          case 'x' -> json.append("\\u00");
          default -> json.append('\\').append(escaped);
        }
      }
    }
    if (place < printed.length()) {
      json.append('"');
      place++;
    }
    return place;
  }
}
