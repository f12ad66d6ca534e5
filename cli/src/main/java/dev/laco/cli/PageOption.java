package dev.laco.cli;

import java.io.IOException;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where the page of a measurement goes. */
@HelpSection.In(HelpSection.OUTPUT)
final class PageOption {
  private static final String NAME = "--html";

  @Option(
      names = NAME,
      paramLabel = "FILE.html",
      description =
          "Where to write the result as a page, too, which needs neither a network nor a script."
              + " Default: OUT.report.html of prune and heal, a file in the folder of --out of sweep"
              + " and similarity.")
  @Nullable Path file;

  /** Where the page goes: beside OUT where no other place is named. */
  Path beside(Path out) {
    return file != null ? file : SideFiles.beside(out, ".report.html");
  }

  /**
   * Plans the page of {@link #beside}, which nothing is written of yet.
   *
   * @param overwrite whether another file may be replaced
   */
  SideFiles.SideFile addBeside(SideFiles files, Path out, boolean overwrite) throws IOException {
    return add(files, beside(out), overwrite);
  }

  /** The same where there is no OUT: null where no page was asked for. */
  SideFiles.@Nullable SideFile add(SideFiles files, boolean overwrite) throws IOException {
    return file == null ? null : add(files, file, overwrite);
  }

  /** The same of a command that replaces no other file. */
  SideFiles.@Nullable SideFile add(SideFiles files) throws IOException {
    return file == null ? null : add(files, file, "choose another name");
  }

  /**
   * The same of a command that writes a folder: in that folder where no other place is named.
   *
   * @param inFolder the page in the folder of {@code --out}; null where there is no folder
   */
  SideFiles.@Nullable SideFile addIn(SideFiles files, @Nullable Path inFolder) throws IOException {
    return file != null || inFolder == null ? add(files) : files.add("--out", inFolder);
  }

  private static SideFiles.SideFile add(SideFiles files, Path path, boolean overwrite)
      throws IOException {
    return overwrite
        ? files.add(NAME, path)
        : add(files, path, "choose another name, or give --overwrite to replace it");
  }

  /**
   * Plans a page.
   *
   * @param instead what a user can do where another file is there
   */
  private static SideFiles.SideFile add(SideFiles files, Path path, String instead)
      throws IOException {
    SideFiles.SideFile page = files.add(NAME, path);
    Page.requireReplaceable(NAME, path, instead);
    return page;
  }
}
