package dev.laco.cli;

import dev.laco.BadInputException;
import dev.laco.UsageException;
import dev.laco.checkpoint.WeightFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;

/** The file of {@code --dump}: states and logits of token lists, under names of their own. */
final class DumpFile {
  private static final String OPTION = "--dump";
  private static final Pattern NAMES = Pattern.compile(".*[0-9]\\.(final_hidden|logits|tokens)");

  private DumpFile() {}

  /**
   * Plans the file; nothing is written yet.
   *
   * @throws UsageException as {@link SideFiles#add}, or if a file is there that is no earlier dump
   * @throws dev.laco.ResourceException if its folder cannot be written
   */
  static SideFiles.SideFile add(SideFiles files, Path path) throws IOException {
    SideFiles.SideFile file = files.add(OPTION, path);
    if (Files.exists(path) && !isDump(path)) {
      throw new UsageException(
          OPTION + " " + path + ": is there and is no dump of laco's; choose another name");
    }
    return file;
  }

  private static boolean isDump(Path path) {
    try (WeightFile found = WeightFile.open(path)) {
      return found.tensors().stream().allMatch(tensor -> NAMES.matcher(tensor.name()).matches());
    } catch (BadInputException e) {
      return false;
    }
  }
}
