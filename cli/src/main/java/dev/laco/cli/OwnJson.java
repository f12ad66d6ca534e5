package dev.laco.cli;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import dev.laco.Legible;
import dev.laco.UsageException;
import dev.laco.apply.StagedFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A kind of JSON document that is written beside a checkpoint, told by keys that all versions of it
 * have: what an earlier run wrote may be replaced, the work of others not.
 *
 * @param before tells by its name whether a file is published before the document, where the
 *     document has a folder of its own; a run that was killed in between leaves such files alone
 */
record OwnJson(String kind, Set<String> keys, Predicate<String> before) {
  static final OwnJson PLAN = new OwnJson("plan", Set.of("version", "source", "layers"));
  static final OwnJson REPORT =
      new OwnJson("report", Set.of("model", "settings", "trials", "plan"));

  static final OwnJson HEAL_REPORT =
      new OwnJson("report of a heal", Set.of("request", "device", "training"));

  static final OwnJson SIMILARITY = new OwnJson("similarity", Set.of("model", "layers"));

  static final OwnJson RESULTS =
      new OwnJson(
          "results of tasks",
          Set.of("results", "n-samples"),
          Pattern.compile("samples_.*\\.jsonl|model-index\\.md|eval_results\\.yaml")
              .asMatchPredicate());

  private static final int NAMED = 3;

  private OwnJson(String kind, Set<String> keys) {
    this(kind, keys, name -> false);
  }

  /**
   * Checks that a file may be written where {@code path} says: nothing is there, or an empty file,
   * or an earlier document of this kind.
   *
   * @param option names it in errors
   * @throws UsageException that says what is there
   */
  void requireReplaceable(String option, Path path) throws IOException {
    if (!Files.exists(path) || Files.size(path) == 0) {
      return;
    }
    List<String> found = keys(path);
    if (!found.containsAll(keys)) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s %s: is there and is no %s of laco's but %s; choose another name, or give --overwrite to replace it",
              option,
              path,
              kind,
              what(found)));
    }
  }

  /**
   * Checks that files may be written into the folder of {@code path}: the folder is not there, or
   * empty, or that of an earlier document of this kind, or it holds only what a run left that was
   * killed.
   *
   * @param option names it in errors
   * @param path the document's place in the folder
   */
  void requireOwnFolder(String option, Path path) throws IOException {
    Path folder = path.resolveSibling("");
    if (!Files.isDirectory(folder)) {
      return;
    }
    try (Stream<Path> files = Files.list(folder)) {
      if (files.allMatch(
          file -> StagedFile.isStaging(file) || before.test(file.getFileName().toString()))) {
        return;
      }
    }
    if (!Files.isRegularFile(path) || !keys(path).containsAll(keys)) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s: %s is not empty and holds no %s of laco's, %s; choose another folder",
              option,
              folder,
              kind,
              path.getFileName()));
    }
  }

  /** The keys of the object in a file; of no file that is none. */
  private static List<String> keys(Path path) throws IOException {
    List<String> found = new ArrayList<>();
    try (JsonParser json = new JsonFactory().createParser(path.toFile())) {
      if (json.nextToken() == JsonToken.START_OBJECT) {
        while (json.nextToken() == JsonToken.FIELD_NAME) {
          found.add(json.currentName());
          json.nextToken();
          json.skipChildren();
        }
      }
      return found;
    } catch (JacksonException e) {
      return List.of();
    }
  }

  private static String what(List<String> keys) {
    if (keys.isEmpty()) {
      return "another file";
    }
    String named = String.join(", ", keys.subList(0, Math.min(NAMED, keys.size())));
    return "JSON with " + Legible.excerpt(named);
  }
}
