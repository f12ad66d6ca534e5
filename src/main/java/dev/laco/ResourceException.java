package dev.laco;

/**
 * A device, memory or disk does not suffice. The message says how much is needed, how much there
 * is, and what helps.
 */
public non-sealed class ResourceException extends LacoException {
  private static final long serialVersionUID = 1L;

  /** An error with its message. */
  public ResourceException(String message) {
    super(message, null, null);
  }

  /** An error that another one causes. */
  public ResourceException(String message, Throwable cause) {
    super(message, null, cause);
  }
}
