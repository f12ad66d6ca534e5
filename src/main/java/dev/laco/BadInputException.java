package dev.laco;

import org.jspecify.annotations.Nullable;

/**
 * A file is not what it must be. The message names the file, the field or tensor, and what was
 * expected.
 */
public final class BadInputException extends LacoException {
  private static final long serialVersionUID = 1L;

  /** An error with its message. */
  public BadInputException(String message) {
    super(message, null, null);
  }

  /** An error that another one causes. */
  public BadInputException(String message, Throwable cause) {
    super(message, null, cause);
  }

  /**
   * The error that a field of a file has a wrong value: {@code config.json: hidden_size: expected
   * an integer of at least 1, found nothing}.
   *
   * @param found the value as people read it
   * @param expected what the value must be
   */
  public static BadInputException field(String file, String field, String found, String expected) {
    String what = file + ": " + field;
    return new BadInputException(
        what + ": expected " + expected + ", found " + found,
        new Refusal(what, found, expected, null),
        null);
  }

  BadInputException(String message, @Nullable Refusal refusal, @Nullable Throwable cause) {
    super(message, refusal, cause);
  }
}
