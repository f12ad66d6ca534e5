package dev.laco.apply;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.checkpoint.OutputFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Removes the files of runs that died: the folders that they were filling, and the empty files by
 * which they found out whether a folder can be written. A target that such a run had renamed gets
 * its name back.
 *
 * <p>Other users may write into the same folder, so a lock file is checked before it is acted on.
 * It must be a regular file of the caller that holds one plain name, and the files and folders that
 * belong to it must be regular files and real folders of the caller. Everything else stays where it
 * is, with a warning, and does not end the run.
 */
final class StaleLocks {
  private static final Pattern LOCK = Pattern.compile("\\.laco-[0-9a-f]+\\.lock");
  private static final Pattern PLAIN_NAME = Pattern.compile("(?!\\.{1,2}$)[^/\\p{Cc}]+");

  private static final String NO_NAME = "it does not hold the name of a folder or file";

  private final Object owner;
  private final Consumer<String> warnings;

  private StaleLocks(Object owner, Consumer<String> warnings) {
    this.owner = owner;
    this.warnings = warnings;
  }

  /**
   * Removes the files of runs that died from the folder of a lock.
   *
   * @param ours the lock of the caller, which has just made its file
   * @param warnings is told of lock files that are left alone
   */
  static void removeBeside(StagingLock ours, Consumer<String> warnings) throws IOException {
    Object owner = Objects.requireNonNull(attributes(ours.file()).get("uid"));
    StaleLocks stale = new StaleLocks(owner, warnings);
    Path folder = ours.file().resolveSibling("");
    List<Path> files;
    try (Stream<Path> all = Files.list(folder)) {
      files = all.filter(file -> isLock(file) || OutputFiles.isTrial(file)).sorted().toList();
    } catch (IOException | UncheckedIOException e) {
      warnings.accept(folder + ": cannot be searched for what runs that died left: " + reason(e));
      return;
    }
    files.forEach(stale::remove);
  }

  private static boolean isLock(Path file) {
    return LOCK.matcher(file.getFileName().toString()).matches();
  }

  private void remove(Path file) {
    try {
      requireOurs(file, "isRegularFile", "a regular file");
      if (OutputFiles.isTrial(file)) {
        if (Files.size(file) == 0) {
          Files.deleteIfExists(file);
        }
        return;
      }
      StagingLock lock = StagingLock.tryTake(file);
      if (lock != null) {
        try {
          remove(lock);
        } finally {
          lock.release();
        }
      }
    } catch (NoSuchFileException e) {
      // Another run has removed what was there.
    } catch (IOException | OverlappingFileLockException e) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: what a run that died may have left is passed over: %s; it can be deleted by hand if no laco is writing there",
              file,
              reason(e)));
    }
  }

  private void remove(StagingLock lock) throws IOException {
    Path target = target(lock);
    for (Path folder : List.of(lock.newFolder(), lock.oldFolder())) {
      if (Files.exists(folder, LinkOption.NOFOLLOW_LINKS)) {
        requireOurs(folder, "isDirectory", "a folder");
      }
    }
    if (Files.exists(lock.journal(), LinkOption.NOFOLLOW_LINKS)) {
      requireOurs(lock.journal(), "isRegularFile", "a regular file");
      for (String name : Files.readAllLines(lock.journal())) {
        requirePlain(name);
        Path moved = lock.listed(name);
        if (Files.exists(moved, LinkOption.NOFOLLOW_LINKS)) {
          boolean folder = name.equals(CompanionFiles.TEMPLATES);
          requireOurs(
              moved,
              folder ? "isDirectory" : "isRegularFile",
              folder ? "a folder" : "a regular file");
        }
      }
    }
    lock.rollBack();
    lock.restore(target);
    lock.removeAll();
  }

  private void requireOurs(Path path, String kind, String expected) throws IOException {
    Map<String, Object> attributes = attributes(path);
    if (!Boolean.TRUE.equals(attributes.get(kind))) {
      throw new IOException(path.getFileName() + " is not " + expected);
    }
    if (!owner.equals(attributes.get("uid"))) {
      throw new IOException(path.getFileName() + " is another user's");
    }
  }

  private static Map<String, Object> attributes(Path path) throws IOException {
    return Files.readAttributes(
        path, "unix:uid,isRegularFile,isDirectory", LinkOption.NOFOLLOW_LINKS);
  }

  /**
   * The target of the run that died; the lock file itself if the run died before it wrote the
   * target's name.
   */
  private static Path target(StagingLock lock) throws IOException {
    try {
      String name = UTF_8.newDecoder().decode(lock.contents()).toString();
      if (name.isEmpty()) {
        return lock.file();
      }
      requirePlain(name);
      return lock.file().resolveSibling(name);
    } catch (CharacterCodingException | InvalidPathException e) {
      throw new IOException(NO_NAME, e);
    }
  }

  private static void requirePlain(String name) throws IOException {
    if (!PLAIN_NAME.matcher(name).matches()) {
      throw new IOException(NO_NAME);
    }
  }

  private static String reason(Exception e) {
    if (e instanceof FileSystemException file && file.getReason() == null) {
      return file.getClass().getSimpleName();
    }
    return e instanceof FileSystemException file
        ? String.valueOf(file.getReason())
        : String.valueOf(e.getMessage());
  }
}
