package dev.laco;

/** What is asked for is impossible. The message says what would be possible. */
public final class UsageException extends LacoException {
  private static final long serialVersionUID = 1L;

  public UsageException(String message) {
    super(message);
  }
}
