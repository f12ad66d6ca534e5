package dev.laco.cli;

import dev.laco.JobEvent;

/** What people see of the events that every job has. */
final class JobLines {
  private JobLines() {}

  /** A line for an event; none for one that only some jobs have. */
  static void say(Console console, JobEvent event) {
    switch (event) {
      case JobEvent.DeviceOpened device -> {
        LostPages.watch(device.kind());
        console.device(device.description());
      }
      case JobEvent.ModelOpened model ->
          console.line("model", "%s: %s", model.directory(), model.description());
      case JobEvent.Warned warning -> console.warning(warning.template());
      case JobEvent.MemoryPlanned memory -> console.line("memory", "%s", memory.description());
      case JobEvent.TimeEstimated time -> console.note("time", time.description());
      default -> {}
    }
  }
}
