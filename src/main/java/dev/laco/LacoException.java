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

  /** The message, in which settings are called by their names in requests. */
  @Override
  public String getMessage() {
    return Setting.show(template(), name -> name);
  }

  /** The message with {@link Setting}s as they were put into it. */
  public final String template() {
    return String.valueOf(super.getMessage());
  }

  /** The process exit code that this error stands for. */
  public final int exitCode() {
    return exitCode;
  }
}
