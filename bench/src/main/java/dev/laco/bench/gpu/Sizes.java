package dev.laco.bench.gpu;

import dev.laco.bench.ModelShape;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Random;

/**
 * What an op is run on.
 *
 * @param lengths tokens of each sequence
 * @param past tokens of each sequence that came before
 * @param window of attention, 0 for none
 * @param candidates merged layers or hidden states at once
 */
record Sizes(
    String model, ModelConfig config, List<Integer> lengths, int past, int window, int candidates) {
  /** The calibration set of the published settings: five sentences, 87 tokens. */
  private static final List<Integer> SENTENCES = List.of(16, 17, 17, 18, 19);

  /** What fills a device: 16k tokens. */
  private static final List<Integer> MANY = Collections.nCopies(8, 2048);

  /**
   * What results are held against the reference on: odd widths at odd addresses, grouped heads,
   * wide heads; with tokens before and a window, and without.
   */
  static final List<Sizes> VERIFIED =
      List.of(
          new Sizes(ModelShape.ODD, List.of(5, 1, 19), 3, 4, 1),
          new Sizes(ModelShape.TINY, List.of(33, 2), 0, 0, 3),
          new Sizes(ModelShape.WIDE, List.of(40, 9), 0, 0, 1));

  Sizes {
    lengths = List.copyOf(lengths);
  }

  private Sizes(String model, List<Integer> lengths, int past, int window, int candidates) {
    this(model, ModelShape.of(model), lengths, past, window, candidates);
  }

  /** The tokens of a trial with the published settings. */
  static Sizes trial(String model) {
    return new Sizes(model, few(model) ? List.of(3, 1) : SENTENCES, 0, 0, 1);
  }

  /** So many tokens that nothing but the kernel's own speed counts. */
  static Sizes large(String model) {
    return new Sizes(model, few(model) ? List.of(16, 16) : MANY, 0, 0, 1);
  }

  private static boolean few(String model) {
    return model.equals(ModelShape.TINY);
  }

  Sizes withLengths(List<Integer> other) {
    return new Sizes(model, config, other, past, window, candidates);
  }

  Sizes withCandidates(int other) {
    return new Sizes(model, config, lengths, past, window, other);
  }

  /** The same with another value on an axis. */
  Sizes with(Shape.Axis axis, int value) {
    return switch (axis) {
      case TOKENS -> withLengths(Collections.nCopies(lengths.size(), value));
      case SEQUENCES -> withLengths(Collections.nCopies(value, lengths.getFirst()));
      case CANDIDATES -> withCandidates(value);
      case HIDDEN -> withConfig(ModelShape.withWidths(config, value, config.intermediateSize()));
      case INNER -> withConfig(ModelShape.withWidths(config, config.hiddenSize(), value));
    };
  }

  private Sizes withConfig(ModelConfig other) {
    return new Sizes(model, other, lengths, past, window, candidates);
  }

  int tokens() {
    return lengths.stream().mapToInt(Integer::intValue).sum();
  }

  int longest() {
    return Collections.max(lengths);
  }

  long hidden() {
    return config.hiddenSize();
  }

  long inner() {
    return config.intermediateSize();
  }

  /** True at the sizes that targets for throughput are meant for. */
  boolean isLarge() {
    return lengths.equals(MANY);
  }

  boolean isTrial() {
    return lengths.equals(SENTENCES);
  }

  /** Sequences of random tokens. */
  PackedSequences packed() {
    Random random = new Random(tokens());
    PackedSequences whole =
        PackedSequences.of(
            lengths.stream()
                .map(length -> random.ints(length, 0, config.vocabSize()).toArray())
                .toList());
    int[] before = new int[lengths.size()];
    Arrays.fill(before, past);
    return new PackedSequences(whole.tokens(), whole.offsets(), before);
  }

  /** {@code , hidden 1024, inner 4096} where widths are not the model's own. */
  String widths() {
    ModelConfig own = ModelShape.of(model);
    return hidden() == own.hiddenSize() && inner() == own.intermediateSize()
        ? ""
        : String.format(Locale.ROOT, ", hidden %d, inner %d", hidden(), inner());
  }

  /** {@code 8 x 2048 tokens}, or {@code 87 tokens in 5}. */
  String text() {
    boolean same = lengths.stream().distinct().count() == 1;
    String text =
        same
            ? String.format(Locale.ROOT, "%d x %d tokens", lengths.size(), lengths.getFirst())
            : String.format(Locale.ROOT, "%d tokens in %d", tokens(), lengths.size());
    return candidates == 1
        ? text
        : text + String.format(Locale.ROOT, ", %d candidates", candidates);
  }
}
