package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.text.LineFile;
import dev.laco.text.ParquetLines;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.function.LongPredicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The files of a task. Items are read one after the other and never held together, so that a file
 * may have any number of them.
 *
 * @param items the items
 * @param examples the items from which the examples of prompts are taken; null where {@code shots}
 *     is 0, and where the items have their examples already
 * @param shots the number of examples in front of each prompt
 * @param answersAlone whether answers are also measured without their question
 */
record TaskFile(
    Task task, Items items, @Nullable Documents examples, int shots, boolean answersAlone) {
  /** The name of one of several parts of a data set on the hub: {@code test-00001-of-00003}. */
  private static final Pattern PART = Pattern.compile("-\\d{5}-of-(\\d{5})\\.parquet$");

  /**
   * Finds the files of a task by the names under which they are published.
   *
   * @param folder the folder of data sets
   * @param shots the number of examples in front of each prompt, unless the task's own is fixed;
   *     null for the task's own
   * @param mutualInformation whether answers are also measured without their question, where the
   *     task has answers
   * @param parquet reads the parquet files among them
   * @throws BadInputException if there is no file of the task; the message says what was looked for
   */
  static TaskFile find(
      Task task,
      @Nullable Path folder,
      @Nullable Integer shots,
      boolean mutualInformation,
      ParquetLines parquet) {
    Items made = task.made();
    if (made != null) {
      return new TaskFile(task, made, null, task.shots(), false);
    }
    if (folder == null) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s needs its files: give %s FOLDER with %s",
              task,
              Setting.of("data"),
              task.places().getFirst().items()));
    }
    if (!Files.isDirectory(folder)) {
      throw new BadInputException(
          folder + ": is no folder; " + Setting.of("data") + " names a folder of data sets");
    }
    int examples = shots == null || task.hasFixedShots() ? task.shots() : shots;
    for (Task.Place place : task.places()) {
      if (!matches(folder, place.items()).isEmpty()) {
        return new TaskFile(
            task,
            documents(folder, place.items(), place.labels(), parquet),
            examples == 0
                ? null
                : documents(folder, place.examples(), place.exampleLabels(), parquet),
            examples,
            mutualInformation && task.kind().hasAnswers());
      }
    }
    throw new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: has no items of %s; looked for %s",
            folder,
            task,
            task.places().stream().map(Task.Place::items).collect(Collectors.joining(", "))));
  }

  private static Documents documents(
      Path folder, String pattern, @Nullable String labels, ParquetLines parquet) {
    List<Path> found = matches(folder, pattern);
    if (found.isEmpty()) {
      throw new BadInputException(folder.resolve(pattern) + ": no such file");
    }
    requireAllParts(found);
    // Every export of samples has all items.
    List<Path> files = Documents.isExport(pattern) ? List.of(found.getLast()) : found;
    return new Documents(
        (files.size() == 1 ? files.getFirst() : folder.resolve(pattern)).toString(),
        files.stream().map(file -> lines(file, parquet)).toList(),
        labels == null ? null : folder.resolve(labels));
  }

  private static LineFile lines(Path file, ParquetLines parquet) {
    return file.toString().endsWith(".parquet") ? parquet.of(file) : LineFile.of(file);
  }

  /**
   * The files of a pattern, whose last part may have {@code *} for any characters; in the order of
   * the numbers in their names.
   */
  private static List<Path> matches(Path folder, String pattern) {
    Path path = folder.resolve(pattern);
    if (!pattern.contains("*")) {
      return Files.exists(path) ? List.of(path) : List.of();
    }
    Path parent = path.resolveSibling("");
    if (!Files.isDirectory(parent)) {
      return List.of();
    }
    List<Path> files = new ArrayList<>();
    try (DirectoryStream<Path> found =
        Files.newDirectoryStream(parent, path.getFileName().toString())) {
      found.forEach(files::add);
    } catch (IOException | DirectoryIteratorException e) {
      throw new BadInputException(parent + ": cannot be read: " + e.getMessage(), e);
    }
    files.sort(
        Comparator.comparingInt((Path file) -> file.toString().length())
            .thenComparing(Comparator.naturalOrder()));
    return files;
  }

  /** Refuses a data set of which parts were not downloaded. */
  private static void requireAllParts(List<Path> files) {
    Matcher part = PART.matcher(files.getFirst().toString());
    if (part.find() && files.size() != Integer.parseInt(part.group(1))) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: is one of %d parts, of which %d are there; get the others, too",
              files.getFirst(),
              Integer.parseInt(part.group(1)),
              files.size()));
    }
  }

  /** The names of the metrics. */
  List<String> metrics() {
    List<String> metrics = task.kind().metrics();
    return answersAlone
        ? Stream.concat(metrics.stream(), Stream.of(Metric.MUTUAL_INFORMATION)).toList()
        : metrics;
  }

  /**
   * Reads the items one by one.
   *
   * @param limit the number of items that are given, if all are wanted
   * @param wanted says which of these items are given, by their numbers from 0; is asked in their
   *     order
   * @return the number of items in the file
   * @throws BadInputException that names file, line and field, if one of the items that are read is
   *     none of the task, or there are no items, or not as many labels as items
   */
  long read(long limit, LongPredicate wanted, Consumer<TaskItem> each) {
    Examples before = new Examples(task, examples, shots);
    boolean[] isGiven = {true};
    return items.read(
        limit,
        number -> {
          isGiven[0] = wanted.test(number);
          // Examples are drawn for one item after the other, also for those that are not given.
          return isGiven[0] || !before.areFixed();
        },
        document -> {
          TaskItem item = task.item(document);
          TaskItem asked = item.behind(before.before(item));
          if (isGiven[0]) {
            each.accept(answersAlone ? asked.withAnswersAlone() : asked);
          }
        });
  }
}
