package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.Setting;

/** This machine or this build cannot run the CUDA backend. */
public final class NoCudaException extends ResourceException {
  private static final long serialVersionUID = 1L;

  private final String reason;

  /**
   * @param reason what is missing
   * @param help what the user can do, other than to run on the CPU
   */
  NoCudaException(String reason, String help) {
    super(reason + "; " + help + ", or use " + Setting.of("device") + " cpu");
    this.reason = reason;
  }

  /** What is missing, without what the user can do. */
  public String reason() {
    return reason;
  }
}
