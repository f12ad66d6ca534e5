package dev.laco.curve;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.InputJson;
import dev.laco.UsageException;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.collapse.CollapsePlan;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * The folder of a curve. A step that is done is a file, which appears in one piece; a job that is
 * started again reads the file in place of doing the step.
 */
final class CurveFolder {
  private static final String REQUEST = "request.json";

  private final Path folder;

  /**
   * A folder for a request; it is made if it is not there.
   *
   * @param identity the request and the model
   * @throws UsageException if the folder holds something else, or the curve of another request
   * @throws dev.laco.ResourceException if the folder cannot be written
   */
  CurveFolder(Path folder, ObjectNode identity) {
    this.folder = folder;
    try {
      Files.createDirectories(folder);
      Path request = folder.resolve(REQUEST);
      if (Files.exists(request)) {
        if (!InputJson.readObject(request).equals(InputJson.parse(REQUEST, identity.toString()))) {
          throw new UsageException(
              folder
                  + ": holds the sweep of another request or model; name another folder, or delete this one");
        }
        return;
      }
      try (var files = Files.newDirectoryStream(folder)) {
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
    Path file = folder.resolve(name);
    Path partial = folder.resolve("." + name + ".partial");
    try {
      Files.deleteIfExists(partial);
      content.accept(partial);
      Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(file, e);
    } catch (RuntimeException e) {
      try {
        Files.deleteIfExists(partial);
      } catch (IOException again) {
        e.addSuppressed(again);
      }
      throw e;
    }
  }
}
