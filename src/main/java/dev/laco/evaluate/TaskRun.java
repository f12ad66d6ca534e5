package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.measure.ContinuationMeasure.Likelihood;
import dev.laco.measure.Progress;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.regex.Pattern;

/**
 * One task on one model. The file of the items is read twice, since it may have any number of them:
 * before the model runs, to find what is wrong with it and how long its items are, and while the
 * model runs. The tokens of the first millions are held in between, so that these items are
 * tokenised once.
 */
final class TaskRun {
  /** What the harness takes to be between two words. */
  private static final Pattern WORDS = Pattern.compile("\\s+", Pattern.UNICODE_CHARACTER_CLASS);

  private final TaskItems of;
  private final TaskFile file;
  private final PromptTokens prompts;
  private ItemMeasure measure;
  private int items;
  private double chance;

  /** The task of some items, which are to be surveyed before the model runs. */
  TaskRun(TaskItems of, PromptTokens prompts) {
    this.of = of;
    this.file = of.file();
    this.prompts = prompts;
    this.measure = newMeasure();
  }

  private ItemMeasure newMeasure() {
    Task.Kind kind = file.task().kind();
    return kind.isGenerated()
        ? new GenerationItems(kind, prompts)
        : new LikelihoodItems(kind, file.metrics(), prompts);
  }

  /**
   * Reads and tokenises the items that are measured; again after they have changed.
   *
   * @param one is told of each item
   * @throws BadInputException if an item is none of the task
   */
  void survey(Runnable one) {
    items = 0;
    chance = 0;
    measure.forget();
    measure = newMeasure();
    of.read(
        item -> {
          one.run();
          items++;
          chance += item.chance();
          measure.survey(item);
        });
  }

  Task task() {
    return file.task();
  }

  /** The names of the metrics. */
  List<String> metrics() {
    return file.metrics();
  }

  /** About how many tokens the model runs over. */
  long tokens() {
    return measure.tokens();
  }

  /** See {@link ItemMeasure#bytes}. */
  long bytes(Device device, Model model, boolean greedy) {
    return measure.bytes(device, model, greedy);
  }

  /**
   * What a model made of one item.
   *
   * @param index number of the item in its file
   * @param likelihoods one for each continuation that was asked for, or each window of a text; none
   *     of generated texts
   * @param text the text that the model wrote; empty where it wrote none
   * @param values one for each metric of the task
   */
  record Sample(
      int index, TaskItem item, List<Likelihood> likelihoods, String text, double[] values) {
    private Sample numbered(int number) {
      return new Sample(number, item, likelihoods, text, values);
    }
  }

  /**
   * Measures a model.
   *
   * @param greedy whether to find out which continuations are greedy, for the samples
   * @param samples gets each item when it is measured, in the order of the file
   * @throws BadInputException if a likelihood is not finite
   */
  TaskResult measure(CausalLm lm, boolean greedy, Progress progress, Consumer<Sample> samples) {
    List<String> names = metrics();
    double[][] values = new double[names.size()][items];
    double[][] weights = new double[names.size()][items];
    int[] numbers = of.numbers(items);
    measure.measure(
        lm,
        greedy,
        of::read,
        sample -> {
          for (int metric = 0; metric < values.length; metric++) {
            values[metric][sample.index] = sample.values[metric];
            weights[metric][sample.index] = weight(names.get(metric), sample.item);
          }
          samples.accept(sample.numbered(numbers[sample.index]));
          progress.update(sample.index + 1L, items);
        });
    List<Metric> metrics = new ArrayList<>();
    for (int metric = 0; metric < values.length; metric++) {
      metrics.add(new Metric(names.get(metric), values[metric], weights[metric]));
    }
    return new TaskResult(
        task(),
        file.items().source(),
        file.shots(),
        of.available(),
        of.isSampled(),
        chance / items,
        metrics);
  }

  /** The number of words or bytes of a text as it is published; 1 of other items. */
  private static double weight(String metric, TaskItem item) {
    return switch (metric) {
      case Metric.WORD_PERPLEXITY -> WORDS.split(item.document().text(Benchmarks.PAGE), -1).length;
      case Metric.BYTE_PERPLEXITY, Metric.BITS ->
          LikelihoodItems.utf8(item.document().text(Benchmarks.PAGE));
      default -> 1;
    };
  }
}
