package dev.laco.cli;

import picocli.CommandLine.Command;
import picocli.CommandLine.HelpCommand;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** {@code laco}: the commands. */
@Command(
    name = "laco",
    description = "LaCo, layer collapse: makes a large language model shallower.",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    synopsisSubcommandLabel = "COMMAND",
    commandListHeading = "%nCommands:%n",
    subcommands = {
      PruneCommand.class,
      ApplyCommand.class,
      HealCommand.class,
      CompareCommand.class,
      SweepCommand.class,
      SimilarityCommand.class,
      ExportCommand.class,
      EvalCommand.class,
      InspectCommand.class,
      GenerateCommand.class,
      DoctorCommand.class,
      CompletionCommand.class,
      HelpCommand.class
    },
    footer = {
      "",
      "Exit codes: 0 done, 1 internal error, 2 usage, 3 bad input,",
      "4 device, memory or disk, 130 interrupted.",
      "",
      "Example:",
      "  laco prune models/storyteller out/storyteller-small"
    })
final class LacoCommand implements Runnable {
  /** What commands say of MODEL. */
  static final String MODEL =
      "Folder of a Hugging Face checkpoint, or a GGUF file, or the id (ORG/NAME) of a checkpoint"
          + " that was downloaded.";

  @Spec CommandSpec spec;

  /** Without a command: prints what there is. */
  @Override
  public void run() {
    spec.commandLine().usage(spec.commandLine().getOut());
  }
}
