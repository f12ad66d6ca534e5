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
      description = "Write the result as a page, too, which needs neither a network nor a script.")
  @Nullable Path file;

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
