package dev.laco.evaluate;

import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.evaluate.TaskRun.Sample;
import dev.laco.transformer.CausalLm;
import java.util.function.Consumer;

/** How the items of a task are measured. */
sealed interface ItemMeasure permits LikelihoodItems, GenerationItems {
  /** The items of a task, which are given one by one to who asks for them. */
  @FunctionalInterface
  interface Source {
    void read(Consumer<TaskItem> each);
  }

  /**
   * Looks at an item before the model runs.
   *
   * @throws dev.laco.BadInputException if the model cannot be asked the item
   */
  void survey(TaskItem item);

  /** Frees what is held of the items; after that they are not measured. */
  void forget();

  /** About how many tokens the model runs over for the items that were looked at. */
  long tokens();

  /**
   * Bytes of the buffers of a measurement.
   *
   * @param greedy whether to find out which continuations are greedy
   */
  long bytes(Device device, Model model, boolean greedy);

  /**
   * Measures the items that were looked at.
   *
   * @param greedy as for {@link #bytes}
   * @param done gets what the model made of each item, in their order
   * @throws dev.laco.BadInputException if a result is not finite
   */
  void measure(CausalLm lm, boolean greedy, Source items, Consumer<Sample> done);
}
