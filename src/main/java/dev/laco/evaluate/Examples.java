package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.Setting;
import dev.laco.UsageException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The answered items in front of each prompt. They are drawn as lm-evaluation-harness draws them,
 * with its seed: for one item after the other, so that items must be asked for in their order.
 */
final class Examples {
  /** The harness's {@code fewshot_random_seed}. */
  private static final int SEED = 1234;

  private final Task task;
  private final int shots;
  private final PythonRandom random = new PythonRandom(SEED);

  /** The items from which examples are drawn; null where all items have the same examples. */
  private final Documents.@Nullable Shelf pool;

  /** The examples that all items have. */
  private final String fixed;

  /**
   * Opens the examples of a task.
   *
   * @param source the file of the examples; null where there are none
   * @param shots the number of examples of each prompt
   * @throws BadInputException if there are not enough examples
   */
  Examples(Task task, @Nullable Documents source, int shots) {
    this.task = task;
    this.shots = shots;
    if (source == null || shots == 0) {
      this.pool = null;
      this.fixed = task.description();
      return;
    }
    if (task.sampling() == Task.Sampling.FIRST) {
      this.pool = null;
      this.fixed = task.description() + first(source);
      return;
    }
    this.fixed = task.description();
    this.pool = source.shelf();
    int needed = shots + (task.sampling() == Task.Sampling.OTHERS ? 1 : 0);
    if (pool.count() < needed) {
      throw tooFew(source, pool.count());
    }
  }

  private UsageException tooFew(Documents source, long found) {
    return Setting.of("shots")
        .refuse(
            shots,
            String.format(Locale.ROOT, "fewer than the %,d items of %s", found, source.source()));
  }

  private String first(Documents source) {
    StringBuilder examples = new StringBuilder();
    long found =
        source.read(shots, any -> true, document -> examples.append(task.item(document).example()));
    if (found < shots) {
      throw tooFew(source, found);
    }
    return examples.toString();
  }

  /** Whether all items have the same text in front of their prompts. */
  boolean areFixed() {
    return pool == null;
  }

  /** The text in front of the prompts of an item. */
  String before(TaskItem item) {
    if (pool == null) {
      return fixed;
    }
    StringBuilder examples = new StringBuilder(fixed);
    drawn(item, pool).forEach(document -> examples.append(task.item(document).example()));
    return examples.toString();
  }

  private List<Document> drawn(TaskItem item, Documents.Shelf from) {
    if (task.sampling() == Task.Sampling.ANY) {
      return random.sample(from.count(), shots).stream().map(from::document).toList();
    }
    List<Document> others = new ArrayList<>();
    for (int number : random.sample(from.count(), shots + 1)) {
      Document document = from.document(number);
      if (others.size() < shots && !document.json().equals(item.document().json())) {
        others.add(document);
      }
    }
    return others.size() == shots ? others : drawnAgain(item, from);
  }

  /** Where an item is among the examples several times, the harness draws from the others alone. */
  private List<Document> drawnAgain(TaskItem item, Documents.Shelf from) {
    int[] others =
        IntStream.range(0, from.count())
            .filter(number -> !from.document(number).json().equals(item.document().json()))
            .toArray();
    if (others.length < shots) {
      throw new BadInputException(
          item.document().where() + " is all that there is to draw examples from");
    }
    return random.sample(others.length, shots).stream()
        .map(place -> from.document(others[place]))
        .toList();
  }
}
