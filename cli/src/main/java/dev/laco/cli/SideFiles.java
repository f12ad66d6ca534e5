package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.apply.StagedFile;
import dev.laco.checkpoint.OutputFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * Files beside a checkpoint, plan and report: written under other names, then renamed, so that each
 * is there in full or not at all, and none of them after a failed or interrupted run ({@link
 * StagedFile}).
 */
final class SideFiles implements AutoCloseable {
  /** The models that are read, by what errors call them. */
  private final Map<Path, String> models = new LinkedHashMap<>();

  private final @Nullable Path out;
  private final List<SideFile> files = new ArrayList<>();

  /** All that were begun, the last one first. The shutdown hook may read them at any time. */
  private final Deque<StagedFile> begun = new ConcurrentLinkedDeque<>();

  private final Thread onShutdown = new Thread(this::interrupted, "laco-side-files");
  private volatile Runnable whenInterrupted = () -> {};

  /**
   * No files yet.
   *
   * @param out the checkpoint that is written, if one is
   * @param model the checkpoint that is read, which exists
   * @throws IOException if their places cannot be found out
   */
  SideFiles(@Nullable Path out, Path model) throws IOException {
    protect("MODEL", model);
    this.out = out == null ? null : OutputFiles.realPath(out);
    Runtime.getRuntime().addShutdownHook(onShutdown);
  }

  /**
   * Lets no file be written into another model that is read.
   *
   * @param name what errors call the model
   * @param model an existing folder or file
   * @throws IOException if its place cannot be found out
   */
  void protect(String name, Path model) throws IOException {
    models.putIfAbsent(model.toRealPath(), name);
  }

  /** One file. */
  final class SideFile {
    private final Path file;
    private final Function<Path, StagedFile> create;
    private volatile @Nullable StagedFile staged;

    private SideFile(Path file, Function<Path, StagedFile> create) {
      this.file = file;
      this.create = create;
    }

    /** Where it will be. */
    Path file() {
      return file;
    }

    /**
     * Makes way for the contents; they go to the path that is returned.
     *
     * @throws ResourceException if the disk is full or cannot be written
     */
    Path begin() {
      StagedFile earlier = staged;
      if (earlier != null) {
        earlier.close();
      }
      StagedFile next = create.apply(file);
      begun.push(next);
      staged = next;
      return next.path();
    }

    /**
     * Writes the contents, not yet under the file's name.
     *
     * @throws ResourceException if the disk is full or cannot be written
     */
    void write(String contents) {
      OutputFiles.write(begin(), contents.getBytes(UTF_8));
    }

    /** Gives the file its name, if it was written. */
    void publish() {
      StagedFile written = staged;
      if (written != null) {
        written.commit();
        staged = null;
      }
    }
  }

  /** Plans a file that takes the place of any other; nothing is written yet. */
  SideFile add(String option, Path path) throws IOException {
    return add(option, path, StagedFile::create);
  }

  /**
   * Plans a file; nothing is written yet.
   *
   * @param create begins the file of a real path, and says which other it may replace
   * @throws UsageException if it is no regular file, planned already, or inside one of the models
   * @throws ResourceException if its folder cannot be written, or the file system there has no
   *     locks
   */
  SideFile add(String option, Path path, Function<Path, StagedFile> create) throws IOException {
    String name = option + " " + path;
    Path file = OutputFiles.realPath(path);
    if (Files.exists(file) && !Files.isRegularFile(file)) {
      throw new UsageException(name + ": exists and is not a regular file");
    }
    if (out != null && file.startsWith(out)) {
      throw new UsageException(name + ": lies inside OUT; choose a place beside it");
    }
    for (Map.Entry<Path, String> model : models.entrySet()) {
      if (file.startsWith(model.getKey())) {
        throw new UsageException(
            name + ": lies inside " + model.getValue() + "; choose a place outside it");
      }
    }
    if (files.stream().anyMatch(other -> other.file.equals(file))) {
      throw new UsageException(name + ": is the name of two files to write");
    }
    StagedFile.requirePossible(name, file);
    SideFile side = new SideFile(file, create);
    files.add(side);
    return side;
  }

  /**
   * Gives the files that were written their names; the first that was planned comes last, since it
   * may speak of the others.
   */
  void publish() {
    for (SideFile side : files.reversed()) {
      side.publish();
    }
  }

  /**
   * Deletes files that an earlier run has left, but for those that this run has written and not
   * published yet.
   *
   * @throws ResourceException if one cannot be deleted
   */
  void deleteUnwritten(List<Path> earlier) throws IOException {
    for (Path path : earlier) {
      Path file = OutputFiles.realPath(path);
      boolean written =
          files.stream().anyMatch(side -> side.staged != null && side.file.equals(file));
      if (!written && Files.isRegularFile(path)) {
        try {
          Files.delete(path);
        } catch (IOException e) {
          throw OutputFiles.cannotWrite(path, e);
        }
      }
    }
  }

  /** What to do first when the process is interrupted, before unfinished files are discarded. */
  void whenInterrupted(Runnable action) {
    whenInterrupted = action;
  }

  private void interrupted() {
    InterruptSignals.nextKills();
    whenInterrupted.run();
    discard();
  }

  /** Discards what has no name yet; the first file made the folders that were missing. */
  private void discard() {
    for (StagedFile file : begun) {
      try {
        file.close();
      } catch (ResourceException e) {
        // The next run removes it.
      }
    }
  }

  @Override
  public void close() {
    discard();
    try {
      Runtime.getRuntime().removeShutdownHook(onShutdown);
    } catch (IllegalStateException e) {
      // The process is ending: the hook is running.
    }
  }

  /** The folder of OUT. */
  static Path folder(Path out) throws IOException {
    Path real = OutputFiles.realPath(out);
    return real.resolveSibling("");
  }

  /**
   * The file that lies beside OUT and has its name, with an ending: {@code OUT.report.json}.
   *
   * @throws ResourceException if the folder of OUT cannot be found out
   */
  static Path beside(Path out, String ending) {
    Path named = out.normalize();
    try {
      Path real = OutputFiles.realPath(out);
      // "." and ".." have no name of their own, and what A/.. is depends on where a link A leads.
      boolean hasName = !named.toString().isEmpty() && !named.endsWith("..");
      if (!hasName || !OutputFiles.realPath(named).equals(real)) {
        named = real;
      }
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(out, e);
    }
    return named.resolveSibling(named.getFileName() + ending);
  }
}
