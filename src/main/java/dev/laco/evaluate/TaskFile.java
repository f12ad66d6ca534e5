package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.Setting;
import dev.laco.UsageException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The files of a task. Items are read one after the other and never held together, so that a file
 * may have any number of them.
 *
 * @param items the items
 * @param examples the items from which the examples of prompts are taken; null where {@code shots}
 *     is 0
 * @param shots the number of examples in front of each prompt
 * @param answersAlone whether answers are also measured without their question
 */
record TaskFile(
    Task task, Items items, @Nullable Documents examples, int shots, boolean answersAlone) {
  /**
   * Finds the files of a task by the names under which they are published.
   *
   * @param folder the folder of data sets
   * @param shots the number of examples in front of each prompt; null for the task's own
   * @param mutualInformation whether answers are also measured without their question, where the
   *     task has answers
   * @throws BadInputException if there is no file of the task; the message says what was looked for
   */
  static TaskFile find(
      Task task, @Nullable Path folder, @Nullable Integer shots, boolean mutualInformation) {
    Items made = task.made();
    if (made != null) {
      return new TaskFile(task, made, null, 0, false);
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
    for (Task.Place place : task.places()) {
      if (Files.exists(folder.resolve(place.items()))) {
        return new TaskFile(
            task,
            documents(folder, place.items(), place.labels()),
            documents(folder, place.examples(), place.exampleLabels()),
            task.kind() == Task.Kind.TEXT ? 0 : shots == null ? task.shots() : shots,
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

  private static Documents documents(Path folder, String file, @Nullable String labels) {
    return new Documents(folder.resolve(file), labels == null ? null : folder.resolve(labels));
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
   * @param limit the number of items that are read
   * @return the number of items in the file
   * @throws BadInputException that names file, line and field, if one of the items that are read is
   *     none of the task, or there are no items, or not as many labels as items
   */
  long read(long limit, Consumer<TaskItem> each) {
    try (Examples before = new Examples(task, examples, shots)) {
      return items.read(
          limit,
          document -> {
            TaskItem item = task.item(document);
            TaskItem asked = item.behind(before.before(item));
            each.accept(answersAlone ? asked.withAnswersAlone() : asked);
          });
    }
  }
}
