package dev.laco;

import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** An error that a user can act on: its message says what is wrong and what helps. */
public abstract sealed class LacoException extends RuntimeException
    permits BadInputException, CancelledException, ResourceException, UsageException {
  private static final long serialVersionUID = 1L;

  private final transient @Nullable Refusal refusal;

  LacoException(String message, @Nullable Refusal refusal, @Nullable Throwable cause) {
    super(message, cause);
    this.refusal = refusal;
  }

  /** The parts of the error for programs; empty where no single value causes it. */
  public final Optional<Refusal> refusal() {
    return Optional.ofNullable(refusal);
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
