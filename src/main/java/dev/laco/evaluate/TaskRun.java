package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.eval.ContinuationMeasure;
import dev.laco.eval.ContinuationMeasure.Likelihood;
import dev.laco.eval.Progress;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.ToIntFunction;
import java.util.regex.Pattern;

/**
 * One task on one model. The file of the items is read twice: before the model runs, to find what
 * is wrong with it and how long its items are, and while the model runs.
 */
final class TaskRun {
  /** What the harness takes to be between two words. */
  private static final Pattern WORDS = Pattern.compile("\\s+", Pattern.UNICODE_CHARACTER_CLASS);

  private final TaskFile file;
  private final PromptTokens prompts;
  private final long limit;
  private final Runnable requireWanted;

  private final long available;
  private int items;
  private long tokens;
  private int longest;
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
    this.available = file.read(limit, this::survey);
  }

  private void survey(TaskItem item) {
    requireWanted.run();
    items++;
    chance += item.chance();
    for (Chunk chunk : chunks(item)) {
      tokens += chunk.length();
      longest = Math.max(longest, chunk.length());
    }
  }

  private List<Chunk> chunks(TaskItem item) {
    String where = item.document().where();
    return task().kind() == Task.Kind.TEXT
        ? prompts.windows(where, item.target())
        : item.asked().stream().map(asked -> prompts.chunk(where, asked)).toList();
  }

  Task task() {
    return file.task();
  }

  /** Tokens of all contexts and continuations. */
  long tokens() {
    return tokens;
  }

  /** Tokens of the longest context and continuation. */
  int longest() {
    return longest;
  }

  /** Whether a metric of the task asks which continuations are greedy. */
  boolean needsGreedy() {
    return task().kind() == Task.Kind.CONTINUATION;
  }

  /**
   * What a model made of one item.
   *
   * @param index number of the item in its file
   * @param likelihoods one for each continuation that was asked for, or each window of a text
   * @param values one for each metric of the task
   */
  record Sample(int index, TaskItem item, List<Likelihood> likelihoods, double[] values) {}

  /**
   * Measures a model.
   *
   * @param greedy whether to find out which continuations are greedy
   * @param samples gets each item when it is measured, in the order of the file
   * @throws BadInputException if a likelihood is not finite
   */
  TaskResult measure(CausalLm lm, boolean greedy, Progress progress, Consumer<Sample> samples) {
    List<String> names = task().kind().metrics();
    double[][] values = new double[names.size()][items];
    double[][] weights = new double[names.size()][items];
    Consumer<Sample> done =
        sample -> {
          for (int metric = 0; metric < values.length; metric++) {
            values[metric][sample.index] = sample.values[metric];
            weights[metric][sample.index] = weight(names.get(metric), sample.item);
          }
          samples.accept(sample);
          progress.update(sample.index + 1L, items);
        };
    try (ContinuationMeasure measure = new ContinuationMeasure(lm, longest, greedy)) {
      int[] index = {0};
      file.read(
          limit,
          item -> {
            List<Chunk> chunks = chunks(item);
            Open open = new Open(index[0]++, item, chunks.size(), done);
            chunks.forEach(chunk -> measure.add(chunk, open::add));
          });
      measure.flush();
    }
    List<Metric> metrics = new ArrayList<>();
    for (int metric = 0; metric < values.length; metric++) {
      metrics.add(new Metric(names.get(metric), values[metric], weights[metric]));
    }
    return new TaskResult(
        task(), file.items().source(), file.shots(), available, chance / items, metrics);
  }

  /** An item some of whose likelihoods are still to be measured. */
  private final class Open {
    private final int index;
    private final TaskItem item;
    private final int chunks;
    private final Consumer<Sample> done;
    private final List<Likelihood> likelihoods = new ArrayList<>();

    Open(int index, TaskItem item, int chunks, Consumer<Sample> done) {
      this.index = index;
      this.item = item;
      this.chunks = chunks;
      this.done = done;
    }

    void add(Likelihood likelihood) {
      if (!Double.isFinite(likelihood.logProbability())) {
        throw new BadInputException(
            item.document().where()
                + ": the model finds an answer "
                + likelihood.logProbability()
                + " likely; its weights are damaged, or so large that hidden states overflow");
      }
      likelihoods.add(likelihood);
      if (likelihoods.size() == chunks) {
        done.accept(new Sample(index, item, List.copyOf(likelihoods), values()));
      }
    }

    private double[] values() {
      double[] logs = likelihoods.stream().mapToDouble(Likelihood::logProbability).toArray();
      return task().kind().metrics().stream().mapToDouble(metric -> value(metric, logs)).toArray();
    }

    private double value(String metric, double[] logs) {
      return switch (metric) {
        case Metric.PERPLEXITY -> logs[0];
        case Metric.WORD_PERPLEXITY, Metric.BYTE_PERPLEXITY, Metric.BITS ->
            Arrays.stream(logs).sum();
        case Metric.ACCURACY ->
            bit(item.choices().isEmpty() ? likelihoods.getFirst().greedy() : item.right(logs));
        case Metric.BY_CHARACTERS -> bit(item.right(per(logs, item.choices(), PythonText::length)));
        case Metric.BY_BYTES -> bit(item.right(per(logs, item.choices(), TaskRun::utf8)));
        default -> throw new IllegalStateException(metric);
      };
    }
  }

  /** The number of words or bytes of a text as it is published; 1 of other items. */
  private static double weight(String metric, TaskItem item) {
    return switch (metric) {
      case Metric.WORD_PERPLEXITY -> WORDS.split(item.document().text(Benchmarks.PAGE), -1).length;
      case Metric.BYTE_PERPLEXITY, Metric.BITS -> utf8(item.document().text(Benchmarks.PAGE));
      default -> 1;
    };
  }

  private static double bit(boolean right) {
    return right ? 1 : 0;
  }

  private static int utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  /** Log-likelihoods divided by the lengths of the answers. */
  private static double[] per(double[] logs, List<String> choices, ToIntFunction<String> length) {
    double[] divided = Arrays.copyOf(logs, logs.length);
    for (int i = 0; i < logs.length; i++) {
      divided[i] /= length.applyAsInt(choices.get(i));
    }
    return divided;
  }
}
