package dev.laco.cli;

import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** How a command talks. */
@HelpSection.In(HelpSection.OUTPUT)
final class OutputOptions {
  @Spec(Spec.Target.MIXEE)
  CommandSpec spec;

  @Option(names = "--json", description = "Print one JSON document on stdout.")
  boolean json;

  @Option(
      names = {"-q", "--quiet"},
      description = "Print results, warnings and errors only.")
  boolean quiet;

  Console console() {
    return new Console(spec.commandLine().getOut(), spec.commandLine().getErr(), quiet, json);
  }
}
