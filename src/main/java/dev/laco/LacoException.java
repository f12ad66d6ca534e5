package dev.laco;

/** An error that a user can act on: its message says what is wrong and what helps. */
public abstract sealed class LacoException extends RuntimeException
    permits BadInputException, CancelledException, ResourceException, UsageException {
  private static final long serialVersionUID = 1L;

  LacoException(String message) {
    super(message);
  }

  LacoException(String message, Throwable cause) {
    super(message, cause);
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
}
