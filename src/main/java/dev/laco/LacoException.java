package dev.laco;

/**
 * An error that a user can act on. The command line prints its message on one line and exits with
 * its code.
 */
public abstract class LacoException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final int exitCode;

  LacoException(int exitCode, String message) {
    super(message);
    this.exitCode = exitCode;
  }

  LacoException(int exitCode, String message, Throwable cause) {
    super(message, cause);
    this.exitCode = exitCode;
  }

  /** The process exit code that this error stands for. */
  public final int exitCode() {
    return exitCode;
  }
}
