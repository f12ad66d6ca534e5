package dev.laco.evaluate;

import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.evaluate.TaskRun.Sample;
import dev.laco.measure.ContinuationMeasure;
import dev.laco.measure.ContinuationMeasure.Likelihood;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.ToIntFunction;

/** Items of which likelihoods are asked: of answers, of continuations, or of whole texts. */
final class LikelihoodItems implements ItemMeasure {
  private final Task.Kind kind;
  private final List<String> metrics;
  private final PromptTokens prompts;

  /** The chunks of the first items that were looked at, as many as there is room for. */
  private final List<List<Chunk>> held = new ArrayList<>();

  private boolean hasRoom = true;
  private long tokens;
  private int longest;

  LikelihoodItems(Task.Kind kind, List<String> metrics, PromptTokens prompts) {
    this.kind = kind;
    this.metrics = metrics;
    this.prompts = prompts;
  }

  private List<Chunk> chunks(TaskItem item) {
    String where = item.document().where();
    return kind == Task.Kind.TEXT
        ? prompts.windows(where, item.target())
        : item.asked().stream().map(asked -> prompts.chunk(where, asked)).toList();
  }

  @Override
  public void survey(TaskItem item) {
    List<Chunk> chunks = chunks(item);
    int length = chunks.stream().mapToInt(Chunk::length).sum();
    tokens += length;
    longest = Math.max(longest, chunks.stream().mapToInt(Chunk::length).max().orElse(0));
    hasRoom = hasRoom && prompts.mayHold(length);
    if (hasRoom) {
      held.add(chunks);
    }
  }

  @Override
  public void forget() {
    prompts.release(held.stream().flatMap(List::stream).mapToInt(Chunk::length).sum());
    held.clear();
  }

  @Override
  public long tokens() {
    return tokens;
  }

  @Override
  public long bytes(Device device, Model model, boolean greedy) {
    return ContinuationMeasure.bytes(device, model.config(), longest, needs(greedy));
  }

  private boolean needs(boolean greedy) {
    return greedy || kind == Task.Kind.CONTINUATION;
  }

  @Override
  public void measure(CausalLm lm, boolean greedy, Source items, Consumer<Sample> done) {
    try (ContinuationMeasure measure = new ContinuationMeasure(lm, longest, needs(greedy))) {
      int[] index = {0};
      items.read(
          item -> {
            int number = index[0]++;
            List<Chunk> chunks = number < held.size() ? held.get(number) : chunks(item);
            Open open = new Open(number, item, chunks.size(), done);
            chunks.forEach(chunk -> measure.add(chunk, open::add));
          });
      measure.flush();
    }
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
        done.accept(new Sample(index, item, List.copyOf(likelihoods), "", values()));
      }
    }

    private double[] values() {
      double[] all = likelihoods.stream().mapToDouble(Likelihood::logProbability).toArray();
      int answers = item.choices().size();
      // Behind the likelihoods of the answers stand those without the question, if they are there.
      boolean alone = answers > 0 && all.length == 2 * answers;
      double[] logs = alone ? Arrays.copyOf(all, answers) : all;
      double[] gained = logs.clone();
      for (int i = 0; alone && i < answers; i++) {
        gained[i] -= all[answers + i];
      }
      return metrics.stream()
          .mapToDouble(
              metric -> value(metric, metric.equals(Metric.MUTUAL_INFORMATION) ? gained : logs))
          .toArray();
    }

    private double value(String metric, double[] logs) {
      return switch (metric) {
        case Metric.PERPLEXITY -> logs[0];
        case Metric.WORD_PERPLEXITY, Metric.BYTE_PERPLEXITY, Metric.BITS ->
            Arrays.stream(logs).sum();
        case Metric.ACCURACY ->
            bit(item.choices().isEmpty() ? likelihoods.getFirst().greedy() : item.right(logs));
        case Metric.MUTUAL_INFORMATION -> bit(item.right(logs));
        case Metric.BY_CHARACTERS -> bit(item.right(per(logs, item.choices(), PythonText::length)));
        case Metric.BY_BYTES -> bit(item.right(per(logs, item.choices(), LikelihoodItems::utf8)));
        default -> throw new IllegalStateException(metric);
      };
    }
  }

  private static double bit(boolean right) {
    return right ? 1 : 0;
  }

  static int utf8(String text) {
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
