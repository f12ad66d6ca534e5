package dev.laco.cli;

import dev.laco.BadInputException;
import dev.laco.CancelledException;
import dev.laco.LacoException;
import dev.laco.ResourceException;
import dev.laco.UsageException;

/** The exit code of a process, by the error that ends it. */
public final class ExitCode {
  static final int INTERNAL = 1;
  static final int USAGE = 2;
  static final int BAD_INPUT = 3;
  static final int RESOURCE = 4;

  /** As shells say that a person interrupted a process. */
  static final int INTERRUPTED = 130;

  private ExitCode() {}

  /** The exit code of an error that a user can act on. */
  public static int of(LacoException e) {
    return switch (e) {
      case UsageException usage -> USAGE;
      case BadInputException input -> BAD_INPUT;
      case ResourceException resource -> RESOURCE;
      case CancelledException cancelled -> INTERRUPTED;
    };
  }
}
