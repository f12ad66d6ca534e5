package dev.laco.text.jinja;

import java.util.Locale;

/** Says what is wrong with a template, or what a template says is wrong with its values. */
public final class TemplateException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final boolean placed;

  TemplateException(String message) {
    this(message, false);
  }

  private TemplateException(String message, boolean placed) {
    super(message, null, false, false);
    this.placed = placed;
  }

  /** An error with its arguments put into the text. */
  static TemplateException of(String format, Object... arguments) {
    return new TemplateException(String.format(Locale.ROOT, format, arguments));
  }

  /** This error with a line of the template in front, unless it has one. */
  TemplateException at(int line) {
    return placed
        ? this
        : new TemplateException(
            String.format(Locale.ROOT, "line %d: %s", line, getMessage()), true);
  }
}
