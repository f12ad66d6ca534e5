package dev.laco.generate;

import dev.laco.JobEvent;

/** What a generation tells while it goes on, beside what every job tells. */
public sealed interface GenerateEvent extends JobEvent {
  /** The next characters behind the prompt; may be empty where a token is no whole character. */
  record TextAdded(String text) implements GenerateEvent {}
}
