package dev.laco;

/**
 * The command line asks for something impossible. The message says what would be possible. Exit
 * code 2.
 */
public final class UsageException extends LacoException {
  private static final long serialVersionUID = 1L;

  public UsageException(String message) {
    super(2, message);
  }
}
