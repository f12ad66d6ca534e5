package dev.laco.evaluate;

import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.evaluate.TaskRun.Sample;
import dev.laco.measure.Generator;
import dev.laco.measure.Sampler;
import dev.laco.text.StreamingDecoder;
import dev.laco.transformer.CausalLm;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.stream.IntStream;

/** Items whose context the model continues, by the most likely token each time. */
final class GenerationItems implements ItemMeasure {
  /** Tokens of a text whose repetition is measured. */
  static final int REPETITION_TOKENS = 128;

  /** Tokens of what is repeated. */
  static final int GRAM = 4;

  private final Task.Kind kind;
  private final PromptTokens prompts;
  private final int maxTokens;
  private final List<String> until;
  private long count;
  private long tokens;
  private int longest;

  GenerationItems(Task.Kind kind, PromptTokens prompts) {
    this.kind = kind;
    this.prompts = prompts;
    boolean repetition = kind == Task.Kind.REPETITION;
    this.maxTokens = repetition ? REPETITION_TOKENS : Gsm8k.MAX_TOKENS;
    this.until = repetition ? List.of() : Gsm8k.UNTIL;
  }

  private int[] prompt(TaskItem item) {
    return prompts.prompt(item.document().where(), item.asked().getFirst().context(), maxTokens);
  }

  @Override
  public void survey(TaskItem item) {
    int length = prompt(item).length;
    count++;
    tokens += length + maxTokens;
    longest = Math.max(longest, length);
  }

  @Override
  public void forget() {}

  @Override
  public long tokens() {
    return tokens;
  }

  @Override
  public long bytes(Device device, Model model, boolean greedy) {
    return Generator.bytes(device, model.config(), model.weightType(), count, longest, maxTokens);
  }

  @Override
  public void measure(CausalLm lm, boolean greedy, Source items, Consumer<Sample> done) {
    // A text whose repetition is measured goes on behind its end, so that all have one length.
    Set<Integer> ends = kind == Task.Kind.REPETITION ? Set.of() : stops();
    try (Generator generator = new Generator(lm, Sampler.GREEDY, ends, count, longest, maxTokens)) {
      InOrder inOrder = new InOrder(done);
      int[] index = {0};
      items.read(item -> generator.add(prompt(item), new Open(index[0]++, item, inOrder)));
      generator.finish();
    }
  }

  /** The tokens that end a text: the model's own, and those of which each is a stop text alone. */
  private Set<Integer> stops() {
    Set<Integer> stops = new HashSet<>(prompts.stopTokens());
    for (String stop : until) {
      int[] ids = prompts.plain(stop);
      if (ids.length == 1) {
        stops.add(ids[0]);
      }
    }
    return stops;
  }

  /** The share of the n-grams of a list of tokens that stood there before. */
  static double repetition(int[] tokens) {
    int grams = tokens.length - GRAM + 1;
    if (grams < 1) {
      return 0;
    }
    long different =
        IntStream.range(0, grams)
            .mapToObj(from -> Arrays.stream(tokens, from, from + GRAM).boxed().toList())
            .distinct()
            .count();
    return 1 - (double) different / grams;
  }

  /** A text in front of the first of each of some stop texts, one after the other. */
  static String cut(String text, List<String> until) {
    String left = text;
    for (String stop : until) {
      int end = left.indexOf(stop);
      left = end < 0 ? left : left.substring(0, end);
    }
    return left;
  }

  /** Hands samples on in the order of their items. */
  private static final class InOrder {
    private final Consumer<Sample> to;
    private final SortedMap<Integer, Sample> waiting = new TreeMap<>();
    private int next;

    InOrder(Consumer<Sample> to) {
      this.to = to;
    }

    void add(Sample sample) {
      waiting.put(sample.index(), sample);
      for (Sample first = waiting.remove(next); first != null; first = waiting.remove(next)) {
        next++;
        to.accept(first);
      }
    }
  }

  /** An item whose text is being written. */
  private final class Open implements Generator.Continuation {
    private final int index;
    private final TaskItem item;
    private final InOrder done;
    private final StringBuilder text = new StringBuilder();
    private final StreamingDecoder decoder = prompts.decoder();
    private final int[] tokens = new int[maxTokens];
    private int length;

    Open(int index, TaskItem item, InOrder done) {
      this.index = index;
      this.item = item;
      this.done = done;
    }

    @Override
    public boolean add(int token) {
      tokens[length++] = token;
      if (until.isEmpty()) {
        return true;
      }
      text.append(decoder.append(token));
      return until.stream().allMatch(stop -> text.indexOf(stop) < 0);
    }

    @Override
    public void end() {
      int[] written = Arrays.copyOf(tokens, length);
      String whole = cut(prompts.text(written), until);
      double[] values =
          kind.metrics().stream()
              .mapToDouble(
                  metric ->
                      metric.equals(Metric.REPETITION)
                          ? repetition(written)
                          : Gsm8k.isRight(metric, whole, item.target()) ? 1 : 0)
              .toArray();
      done.add(new Sample(index, item, List.of(), whole, values));
    }
  }
}
