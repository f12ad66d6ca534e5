package dev.laco;

/** A request asks for what is impossible. The message says what is possible. */
public final class UsageException extends LacoException {
  private static final long serialVersionUID = 1L;

  /** An error that no single value causes. */
  public UsageException(String message) {
    super(message, null, null);
  }

  /**
   * An error that one value causes.
   *
   * @param refusal the parts of the error for programs
   */
  public UsageException(String message, Refusal refusal) {
    super(message, refusal, null);
  }
}
