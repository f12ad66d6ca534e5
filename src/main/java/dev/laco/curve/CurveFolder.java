package dev.laco.curve;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.InputJson;
import dev.laco.UsageException;
import dev.laco.apply.PlanTensors;
import dev.laco.apply.StagedFile;
import dev.laco.checkpoint.LockFile;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.collapse.CollapsePlan;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * The folder of a curve. A step that is done is a file, which appears in one piece; a job that is
 * started again reads the file in place of doing the step. Until it is closed, no other job can
 * open the folder.
 */
final class CurveFolder implements AutoCloseable {
  private static final String REQUEST = "request.json";
  private static final String LOCK = ".lock";

  private final Path folder;
  private final LockFile lock;

  /**
   * A folder for a request; it is made if it is not there.
   *
   * @param identity the request, the model and the texts
   * @throws UsageException if the folder holds something else, or the curve of another request
   * @throws dev.laco.ResourceException if another job has it open, or it cannot be written
   */
  CurveFolder(Path folder, ObjectNode identity) {
    this.folder = folder;
    lock =
        LockFile.ofFolder(
            folder,
            LOCK,
            "another sweep writes there: wait until it ends, or choose another folder");
    try {
      requireOwn(identity);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private void requireOwn(ObjectNode identity) {
    try {
      Path request = folder.resolve(REQUEST);
      if (Files.exists(request)) {
        if (!InputJson.readObject(request).equals(InputJson.parse(REQUEST, identity.toString()))) {
          throw new UsageException(
              folder
                  + ": holds the sweep of another request, model or text; name another folder, or"
                  + " delete this one");
        }
        return;
      }
      // Names with a dot in front are of locks, and of files that a killed job had not completed.
      try (var files =
          Files.newDirectoryStream(
              folder, file -> !file.getFileName().toString().startsWith("."))) {
        if (files.iterator().hasNext()) {
          throw new UsageException(
              folder + ": is no folder of a sweep and not empty; name another");
        }
      }
      write(REQUEST, identity.toPrettyString() + "\n");
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(folder, e);
    }
  }

  /** The JSON of a step that is done. */
  Optional<ObjectNode> find(String name) {
    Path file = folder.resolve(name);
    return Files.exists(file) ? Optional.of(InputJson.readObject(file)) : Optional.empty();
  }

  /** The JSON of a step, which is done if it has not been. */
  ObjectNode get(String name, Supplier<ObjectNode> step) {
    return find(name)
        .orElseGet(
            () -> {
              ObjectNode json = step.get();
              write(name, json.toPrettyString() + "\n");
              return json;
            });
  }

  Path file(String name) {
    return folder.resolve(name);
  }

  /** Writes a plan, after the file of its new tensors if it has some. */
  void write(String stem, CollapsePlan plan, PlanTensors tensors) {
    String tensorsName = stem + ".safetensors";
    if (!tensors.isEmpty()) {
      write(tensorsName, tensors::write);
    }
    write(stem + ".json", plan.withTensors(tensors.named(tensorsName)).toJsonText());
  }

  private void write(String name, String text) {
    write(name, file -> OutputFiles.write(file, text.getBytes(UTF_8)));
  }

  private void write(String name, Consumer<Path> content) {
    try (StagedFile staged = StagedFile.create(lock.file().resolveSibling(name))) {
      content.accept(staged.path());
      staged.commit();
    }
  }

  @Override
  public void close() {
    lock.delete();
  }
}
