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

  BadInputException(String message, @Nullable Refusal refusal, Throwable cause) {
    super(message, refusal, cause);
  }
}
