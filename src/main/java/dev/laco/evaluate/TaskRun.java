package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.measure.ContinuationMeasure.Likelihood;
import dev.laco.measure.Progress;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import java.util.ArrayList;
import java.util.BitSet;
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

  private final TaskFile file;
  private final PromptTokens prompts;
  private final long limit;
  private final Runnable requireWanted;
  private final long available;

  private ItemMeasure measure;

  /** The largest hash of an item that is measured. */
  private long bound = Long.MAX_VALUE;

  /** The numbers in the file of the items that are measured. */
  private final BitSet measured = new BitSet();

  private int items;
  private double chance;

  /**
   * Reads the items.
   *
   * @param limit the number of items that are measured, if there are so many
   * @param requireWanted ends the reading if the job was cancelled
   * @throws BadInputException if an item is none of the task
   */
  TaskRun(TaskFile file, PromptTokens prompts, long limit, Runnable requireWanted) {
    this.file = file;
    this.prompts = prompts;
    this.limit = limit;
    this.requireWanted = requireWanted;
    this.measure = newMeasure();
    this.available = survey();
  }

  private ItemMeasure newMeasure() {
    Task.Kind kind = file.task().kind();
    return kind.isGenerated()
        ? new GenerationItems(kind, prompts)
        : new LikelihoodItems(kind, file.metrics(), prompts);
  }

  private long survey() {
    return read(
        item -> {
          requireWanted.run();
          items++;
          chance += item.chance();
          measure.survey(item);
        });
  }

  /** Gives the items that are measured. */
  private long read(Consumer<TaskItem> each) {
    int[] number = {0};
    return file.read(
        limit,
        item -> {
          if (bound == Long.MAX_VALUE || ItemSample.hash(item.document().json()) <= bound) {
            measured.set(number[0]);
            each.accept(item);
          }
          number[0]++;
        });
  }

  /** The hash of every item, and the tokens that the model runs over for it. */
  List<ItemSample.Weight> weights() {
    List<ItemSample.Weight> weights = new ArrayList<>();
    file.read(
        limit,
        item -> {
          requireWanted.run();
          ItemMeasure one = newMeasure();
          one.survey(item);
          weights.add(new ItemSample.Weight(ItemSample.hash(item.document().json()), one.tokens()));
          one.forget();
        });
    return weights;
  }

  /** Measures from now on only those items whose hashes are at most a bound. */
  void only(long largest) {
    if (largest == bound) {
      return;
    }
    bound = largest;
    items = 0;
    chance = 0;
    measured.clear();
    measure.forget();
    measure = newMeasure();
    survey();
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
  long bytes(ModelConfig config, boolean greedy) {
    return measure.bytes(config, greedy);
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
    int[] numbers = measured.stream().toArray();
    measure.measure(
        lm,
        greedy,
        this::read,
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
        available,
        bound < Long.MAX_VALUE,
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
