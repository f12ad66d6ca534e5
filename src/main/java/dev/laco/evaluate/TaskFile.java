package dev.laco.evaluate;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.text.LineReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The file of a task's items. Items are read one after the other and never held together, so that a
 * file may have any number of them.
 *
 * @param items objects of JSON, one a line
 * @param labels the right answers, one a line; null where the items have them
 */
record TaskFile(Task task, Path items, @Nullable Path labels) {
  /** The field of an item that a file of labels stands for. */
  private static final String LABEL = "label";

  /**
   * Finds the file of a task by the names under which it is published.
   *
   * @param folder the folder of data sets
   * @throws BadInputException if there is no file of the task; the message says what was looked for
   */
  static TaskFile find(Task task, @Nullable Path folder) {
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
      Path items = folder.resolve(place.items());
      if (Files.exists(items)) {
        String labels = place.labels();
        return new TaskFile(task, items, labels == null ? null : folder.resolve(labels));
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

  /**
   * Reads the items one by one.
   *
   * @param limit the number of items that are read
   * @return the number of items in the file
   * @throws BadInputException that names file, line and field, if one of the items that are read is
   *     none of the task, or there are no items, or not as many labels as items
   */
  long read(long limit, Consumer<TaskItem> each) {
    try (LineReader lines = new LineReader(items);
        LineReader answers = labels == null ? null : new LineReader(labels)) {
      long count = 0;
      for (String line = lines.next(); line != null; line = lines.next()) {
        String label = answers == null ? null : answers.next();
        if (answers != null && label == null) {
          throw new BadInputException(
              lines.where() + " has no label: " + labels + " has fewer lines");
        }
        if (count < limit) {
          each.accept(item(lines.where(), line, label));
        }
        count++;
      }
      if (answers != null && answers.next() != null) {
        throw new BadInputException(
            answers.where() + " is the label of no item: " + items + " has fewer lines");
      }
      if (count == 0) {
        throw new BadInputException(items + ": holds no items");
      }
      return count;
    }
  }

  private TaskItem item(String where, String line, @Nullable String label) {
    Document document = Document.of(where, InputJson.parse(where, line));
    if (label == null) {
      return task.item(document);
    }
    ObjectNode labelled = document.json().deepCopy().put(LABEL, label.strip());
    return task.item(new Document(where, labelled));
  }
}
