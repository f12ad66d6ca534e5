package dev.laco;

/**
 * Makes foreign text, such as names and values from files or messages of libraries, fit to be
 * shown: short, and without characters that control a terminal or begin a new line. Such characters
 * become visible escapes, as {@code \n} or {@code \u001b}.
 */
public final class Legible {
  private static final int EXCERPT = 200;

  private Legible() {}

  /** A name or value on one line, shortened to 200 characters of its beginning and its end. */
  public static String excerpt(Object value) {
    return cut(line(cut(String.valueOf(value), EXCERPT)), EXCERPT);
  }

  /**
   * The text on one line: escapes stand in the place of line breaks and other control characters.
   */
  public static String line(String text) {
    return escape(text, false);
  }

  /** The text with its line breaks and tabs; other control characters become escapes. */
  public static String lines(String text) {
    return escape(text, true);
  }

  /** The text, or its beginning and its end if it is longer than {@code most} characters. */
  public static String cut(String text, int most) {
    if (text.length() <= most) {
      return text;
    }
    int end = most / 2;
    return text.substring(0, most - end - 1) + "…" + text.substring(text.length() - end);
  }

  private static String escape(String text, boolean layout) {
    int first = 0;
    while (first < text.length() && isPlain(text, first, layout)) {
      first++;
    }
    if (first == text.length()) {
      return text;
    }
    StringBuilder escaped = new StringBuilder(text.length() + 16).append(text, 0, first);
    for (int i = first; i < text.length(); i++) {
      char c = text.charAt(i);
      if (isPlain(text, i, layout)) {
        escaped.append(c);
      } else {
        escaped.append(
            switch (c) {
              case '\n' -> "\\n";
              case '\r' -> "\\r";
              case '\t' -> "\\t";
              default -> "\\u" + Integer.toHexString(0x10000 + c).substring(1);
            });
      }
    }
    return escaped.toString();
  }

  private static boolean isPlain(String text, int at, boolean layout) {
    char c = text.charAt(at);
    if (c >= ' ' && c < 0x7f) {
      return true;
    }
    if (c == '\n' || c == '\t') {
      return layout;
    }
    return switch (Character.getType(c)) {
      case Character.CONTROL, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> false;
      case Character.SURROGATE ->
          Character.isHighSurrogate(c)
              ? at + 1 < text.length() && Character.isLowSurrogate(text.charAt(at + 1))
              : at > 0 && Character.isHighSurrogate(text.charAt(at - 1));
      default -> !turns(c);
    };
  }

  /** Whether a character changes the direction of the text that follows. */
  private static boolean turns(char c) {
    return c == '\u061c'
        || c == '\u200e'
        || c == '\u200f'
        || (c >= '\u202a' && c <= '\u202e')
        || (c >= '\u2066' && c <= '\u2069');
  }
}
