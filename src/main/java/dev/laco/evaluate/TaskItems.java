package dev.laco.evaluate;

import dev.laco.evaluate.ItemSample.Weight;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The items of a task that are measured: all up to a limit, or a sample of them, which is the same
 * for all models. Since a file may have any number of items, it is read whenever they are needed.
 */
final class TaskItems {
  private final TaskFile file;
  private final long limit;

  /** Of each item up to the limit; empty where no sample is drawn. */
  private List<Weight> weights = List.of();

  /** The numbers in the file of the items of the sample; null for all up to the limit. */
  private @Nullable BitSet sample;

  private long available;

  /**
   * The items of a file, which is not read yet.
   *
   * @param limit the number of items that are measured, if there are so many
   */
  TaskItems(TaskFile file, long limit) {
    this.file = file;
    this.limit = limit;
  }

  TaskFile file() {
    return file;
  }

  /** The number of items in the file; 0 before it was read. */
  long available() {
    return available;
  }

  /** About how many items are measured. */
  long expected() {
    return sample == null ? Math.min(limit, file.items().count()) : sample.cardinality();
  }

  /** Whether a part of the items is measured. */
  boolean isSampled() {
    return sample != null;
  }

  /** The numbers in the file of the {@code count} items that are measured. */
  int[] numbers(int count) {
    return sample == null ? IntStream.range(0, count).toArray() : sample.stream().toArray();
  }

  /**
   * Gives the items that are measured one by one.
   *
   * @throws dev.laco.BadInputException if an item is none of the task
   */
  void read(Consumer<TaskItem> each) {
    BitSet chosen = sample;
    available =
        file.read(limit, number -> chosen == null || chosen.get(Math.toIntExact(number)), each);
  }

  /**
   * Reads all items for drawing a sample.
   *
   * @param one is told of each item
   * @throws dev.laco.BadInputException if an item is none of the task
   */
  void weigh(Runnable one) {
    List<Weight> all = new ArrayList<>();
    read(
        item -> {
          one.run();
          all.add(Weight.of(item.document().json()));
        });
    weights = all;
  }

  /** Of each item up to the limit, in the order of the file. */
  List<Weight> weights() {
    return weights;
  }

  /** Leaves those items in the sample whose hashes are at most a bound. */
  void only(long bound) {
    if (bound == Long.MAX_VALUE) {
      sample = null;
      return;
    }
    BitSet chosen = new BitSet();
    IntStream.range(0, weights.size())
        .filter(number -> weights.get(number).hash() <= bound)
        .forEach(chosen::set);
    sample = chosen;
  }
}
