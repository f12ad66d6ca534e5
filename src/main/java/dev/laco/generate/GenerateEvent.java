package dev.laco.generate;

import dev.laco.JobEvent;

/** An event of a generation, beside those that every job has. */
public sealed interface GenerateEvent extends JobEvent {
  /**
   * The model added a token.
   *
   * @param text the characters that the token completes; empty where it completes none
   */
  record TextAdded(String text) implements GenerateEvent {}
}
