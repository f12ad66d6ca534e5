package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.UsageException;
import dev.laco.checkpoint.OutputFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Small files beside a checkpoint, plan and report: written under other names, then renamed, so
 * that each is there in full or not at all, and none of them after a failed run.
 */
final class SideFiles implements AutoCloseable {
  private final @Nullable Path out;
  private final List<SideFile> files = new ArrayList<>();

  /**
   * No files yet.
   *
   * @param out the checkpoint that they lie beside, none for a dry run
   */
  SideFiles(@Nullable Path out) {
    this.out = out == null ? null : out.toAbsolutePath().normalize();
  }

  /** One file; {@code partial} is its name until it is published. */
  record SideFile(Path file, Path partial) {
    /** Writes the contents, not yet under the file's name. */
    void write(String contents) {
      try {
        Files.createDirectories(file.resolveSibling("").toAbsolutePath());
        Files.write(partial, contents.getBytes(UTF_8));
      } catch (IOException e) {
        throw OutputFiles.cannotWrite(file, e);
      }
    }
  }

  /**
   * Plans a file; nothing is written yet.
   *
   * @throws UsageException if it is a folder, or inside the checkpoint, which holds nothing but
   *     itself
   */
  SideFile add(String option, Path path) {
    Path file = path.toAbsolutePath().normalize();
    if (Files.isDirectory(file) || file.getFileName() == null) {
      throw new UsageException(option + " " + path + ": is a folder, expected a file");
    }
    if (out != null && file.startsWith(out)) {
      throw new UsageException(option + " " + path + ": lies inside OUT; choose a place beside it");
    }
    SideFile side =
        new SideFile(
            file,
            file.resolveSibling(
                "." + file.getFileName() + "." + ProcessHandle.current().pid() + ".partial"));
    files.add(side);
    return side;
  }

  /** Gives all files their names. */
  void publish() throws IOException {
    for (SideFile side : files) {
      Files.move(
          side.partial(),
          side.file(),
          StandardCopyOption.ATOMIC_MOVE,
          StandardCopyOption.REPLACE_EXISTING);
    }
  }

  @Override
  public void close() throws IOException {
    for (SideFile side : files) {
      Files.deleteIfExists(side.partial());
    }
  }
}
