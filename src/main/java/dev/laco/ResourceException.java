package dev.laco;

/**
 * A device, memory or disk cannot give what is needed. The message says needed, free, and what
 * helps. Exit code 4.
 */
public class ResourceException extends LacoException {
  private static final long serialVersionUID = 1L;

  public ResourceException(String message) {
    super(4, message);
  }

  public ResourceException(String message, Throwable cause) {
    super(4, message, cause);
  }
}
