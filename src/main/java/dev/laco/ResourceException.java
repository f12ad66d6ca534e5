package dev.laco;

/**
 * A device, memory or disk cannot give what is needed. The message says needed, free, and what
 * helps.
 */
public non-sealed class ResourceException extends LacoException {
  private static final long serialVersionUID = 1L;

  public ResourceException(String message) {
    super(message, null, null);
  }

  public ResourceException(String message, Throwable cause) {
    super(message, null, cause);
  }
}
