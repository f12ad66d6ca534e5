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
          "Where to write the result as a page, too, which needs neither a network nor a script.")
  @Nullable Path file;

  /**
   * Plans the page, which nothing is written of yet, beside OUT where no other place is named.
   *
   * @param overwrite whether another file may be replaced
   */
  SideFiles.SideFile addBeside(SideFiles files, Path out, boolean overwrite) throws IOException {
    Path path = file != null ? file : SideFiles.beside(out, ".report.html");
    SideFiles.SideFile page = files.add(NAME, path);
    if (!overwrite) {
      Page.requireReplaceable(NAME, path, "choose another name, or give --overwrite to replace it");
    }
    return page;
  }

  /** Plans the page, which nothing is written of yet; null where none was asked for. */
  SideFiles.@Nullable SideFile add(SideFiles files) throws IOException {
    Path path = file;
    if (path == null) {
      return null;
    }
    SideFiles.SideFile page = files.add(NAME, path);
    Page.requireReplaceable(NAME, path, "choose another name");
    return page;
  }
}
