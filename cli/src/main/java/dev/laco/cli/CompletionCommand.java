package dev.laco.cli;

import picocli.AutoComplete;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Prints what a shell needs to complete commands and options. */
@Command(
    name = "completion",
    description = "Print a script that completes commands and options in bash and zsh.",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    customSynopsis = "laco completion [bash|zsh]",
    footer = {"", "Example:", "  laco completion >> ~/.bashrc"})
final class CompletionCommand implements Runnable {
  /** Shells whose users look for their name; the script is the same. */
  enum Shell {
    BASH,
    ZSH
  }

  @Parameters(
      arity = "0..1",
      paramLabel = "bash|zsh",
      description = "The shell; one script serves both.")
  Shell shell = Shell.BASH;

  @Spec CommandSpec spec;

  @Override
  public void run() {
    spec.commandLine().getOut().print(AutoComplete.bash("laco", spec.root().commandLine()));
  }
}
