package dev.laco.apply;

import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.checkpoint.WeightFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.stream.Stream;

/** Decides where a pruned checkpoint may be written: never into its model, and never over it. */
final class Target {
  private Target() {}

  /**
   * The real path of the folder to write.
   *
   * @param warnings is told of files that runs that died seem to have left there and that are not
   *     removed
   * @throws UsageException if the folder is the model's, or inside it or around it; if it is not a
   *     folder; or if it is not empty and may not be replaced
   * @throws dev.laco.ResourceException if the folder cannot be written, or its file system has no
   *     locks
   */
  static Path resolve(Checkpoint model, Path out, boolean overwrite, Consumer<String> warnings) {
    try {
      Path target = OutputFiles.realPath(out);
      if (target.getFileName() == null) {
        throw new UsageException(out + ": is a file system's root; name a folder");
      }
      refuseModel(model, out, target);
      if (Files.exists(target) && !Files.isDirectory(target)) {
        throw new UsageException(out + ": exists and is not a folder");
      }
      StagingLock.requirePossible(out.toString(), StagedDirectory.home(target));
      if (Mounts.isMountPoint(target)) {
        requireEmptyMount(out, target, warnings);
      } else if (Files.exists(target)) {
        if (!overwrite && !isEmpty(target)) {
          throw new UsageException(
              out + ": is not empty; use " + Setting.of("overwrite") + " to replace it");
        }
        Replaceable.require(out.toString(), target);
      }
      return target;
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(out, e);
    }
  }

  /**
   * The real path of the GGUF file to write.
   *
   * @throws UsageException if the file is one of the model, or inside its folder; if something else
   *     than a file is there, or a file that may not be replaced
   * @throws dev.laco.ResourceException if the file cannot be written, or its file system has no
   *     locks
   */
  static Path resolveFile(Checkpoint model, Path out, boolean overwrite) {
    try {
      Path target = OutputFiles.realPath(out);
      refuseModel(model, out, target);
      if (Files.exists(target) && !Files.isRegularFile(target)) {
        throw new UsageException(out + ": exists and is not a regular file");
      }
      if (Files.exists(target) && !overwrite) {
        throw new UsageException(
            out + ": exists; use " + Setting.of("overwrite") + " to replace it");
      }
      if (Files.exists(target)) {
        Replaceable.requireGguf(out.toString(), target);
      }
      StagedFile.requirePossible(out.toString(), target);
      return target;
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(out, e);
    }
  }

  private static void refuseModel(Checkpoint model, Path out, Path target) throws IOException {
    Path source = model.directory().toRealPath();
    if (target.startsWith(source)) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s: is %s the model %s; choose a folder outside it",
              out,
              target.equals(source) ? "itself" : "inside",
              model.directory()));
    }
    List<Path> sources = new ArrayList<>(List.of(source));
    for (WeightFile file : model.files()) {
      sources.add(file.path().toRealPath());
    }
    for (Path path : sources) {
      if (path.startsWith(target)) {
        throw new UsageException(
            String.format(
                Locale.ROOT, "%s: holds the model's %s; choose another folder", out, path));
      }
    }
  }

  /**
   * Checks that a mount point is empty: it cannot be exchanged for another folder, so that its
   * content cannot be replaced in one step.
   */
  private static void requireEmptyMount(Path out, Path target, Consumer<String> warnings)
      throws IOException {
    StagingLock lock = StagingLock.create(target, "");
    try {
      StaleLocks.removeBeside(lock, warnings);
    } finally {
      lock.removeAll();
    }
    if (!StagedDirectory.isEmptyMount(target)) {
      throw new UsageException(
          out
              + ": is a mount point and not empty; what is there cannot be replaced in one step: name a folder inside it, or empty it");
    }
  }

  private static boolean isEmpty(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.findAny().isEmpty();
    }
  }
}
