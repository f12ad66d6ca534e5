package dev.laco.cli;

import java.util.List;
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

  /** The arguments of the command line, as they were given. */
  List<String> arguments() {
    return spec.root().commandLine().getParseResult().originalArgs();
  }

  Console console() {
    return new Console(spec.commandLine().getOut(), spec.commandLine().getErr(), quiet, json);
  }
}
