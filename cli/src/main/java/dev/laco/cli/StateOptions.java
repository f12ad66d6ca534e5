package dev.laco.cli;

import dev.laco.checkpoint.DiskSpace;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.heal.HealState;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import picocli.CommandLine.Option;

/** How the state of a training is kept, from which the same command goes on. */
@HelpSection.In(HelpSection.OUTPUT)
final class StateOptions {
  @Option(
      names = "--state-every",
      paramLabel = "TIME",
      description =
          "How often the state of the training is kept in OUT.heal at most, from which the same"
              + " command goes on if this one is killed. Default: 1m; more seldom where writing would"
              + " take more than a twentieth of the time. The default's short training keeps none.")
  TimeSpan every = new TimeSpan(60);

  /** The folder of the state. */
  static Path folder(Path out) {
    return SideFiles.beside(out, ".heal");
  }

  /**
   * What a user does with the plan that an ended training leaves beside its state.
   *
   * @param plan quoted
   * @param from the model that the plan is for
   */
  static String goOn(String plan, Path from, Path out) {
    return String.format(
        Locale.ROOT,
        "laco apply %s %s %s writes it; the same command again goes on with the training",
        plan,
        Shell.quoted(from),
        Shell.quoted(out));
  }

  /**
   * Counts the room for it that an earlier run has not taken yet.
   *
   * @param bytes that it takes in all, at most
   * @return what was counted
   */
  static long addTo(DiskSpace space, Path out, long bytes) throws IOException {
    Path folder = folder(out);
    long more = Math.max(0, bytes - HealState.bytesLeft(folder));
    space.add("the state " + folder, OutputFiles.realPath(folder), more);
    return more;
  }
}
