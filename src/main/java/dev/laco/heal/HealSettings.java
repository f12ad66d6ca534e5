package dev.laco.heal;

import dev.laco.Setting;
import dev.laco.training.Adapters;
import dev.laco.transformer.AdamWState;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How a pruned model is trained. What is null here is its default.
 *
 * @param texts what the model is trained on: files {@code .txt}, {@code .jsonl} or {@code .json};
 *     none for the original's own {@code fit.txt} if it has one, else the built-in text
 * @param samples tokens that the original writes itself, to be trained on beside the texts; null
 *     for none, or where a time is given for those without which the training would meet the texts
 *     more than four times
 * @param tokens on which to train; the text is met again where it is shorter. Null for one pass
 *     over the text, or for as many as the time allows where a time is given
 * @param stepTokens tokens of one step of the optimizer; null for a number that suits the model
 * @param rate the largest learning rate; null for the one that a range test finds
 * @param labelShare share of the loss that is the language model's own, 0 to 1; null for one that
 *     suits a model which lost layers, and none behind the first passes over the text ({@link
 *     dev.laco.training.LabelShare})
 * @param layers which layers are trained; null for {@link Layers#BEHIND}, or for {@link Layers#ALL}
 *     within a time where all of the training stays in memory
 * @param seed of the order of the text, of what adapters begin with, and of rounding at random
 * @param lora rank of the adapters that are trained in place of all tensors of the layers; null for
 *     these
 * @param loraAlpha by this number, divided by the rank, the product of two adapters is multiplied;
 *     null for twice the rank
 * @param optimizer what moves the weights; adapters are moved by {@link Optimizer#ADAMW}
 * @param masters copies of the weights; adapters are in f32 and need none
 */
public record HealSettings(
    List<Path> texts,
    @Nullable Long samples,
    @Nullable Long tokens,
    @Nullable Integer stepTokens,
    @Nullable Double rate,
    @Nullable Double labelShare,
    @Nullable Layers layers,
    Long seed,
    @Nullable Integer lora,
    @Nullable Double loraAlpha,
    Optimizer optimizer,
    Masters masters) {
  /** Which layers are trained. */
  public enum Layers {
    /** Those from the first one on that is not the original's; the original runs those before. */
    BEHIND,
    /** All. */
    ALL;

    /** The name in requests and on the command line. */
    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** What moves weights. */
  public enum Optimizer {
    /** AdamW, with running means in f32. */
    ADAMW,
    /** AdamW, with running means in 8 bits. */
    ADAMW_8BIT;

    /** The name in requests and on the command line. */
    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** Copies of the weights in training. */
  public enum Masters {
    /** In f32, which steps move, and of which the weights are rounded. */
    F32,
    /** None: steps move the weights, which are rounded at random. */
    NONE;

    /** The name in requests and on the command line. */
    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** Token ids are held on the Java heap. */
  static final long MOST_SAMPLES = 16_000_000;

  /** The largest rank of adapters. */
  private static final int MOST_RANK = 1024;

  private static final int MOST_ALPHA = 65_536;

  /** Settings of all values; null stands for the default of each. */
  public HealSettings {
    texts = texts == null ? List.of() : List.copyOf(texts);
    seed = Objects.requireNonNullElse(seed, 0L);
    optimizer = Objects.requireNonNullElse(optimizer, Optimizer.ADAMW);
    masters = Objects.requireNonNullElse(masters, Masters.F32);
    if (samples != null && (samples < 0 || samples > MOST_SAMPLES)) {
      throw Setting.of("healSamples").refuse(samples, "0 to " + MOST_SAMPLES);
    }
    if (tokens != null && tokens < 1) {
      throw Setting.of("healTokens").refuse(tokens, "at least 1");
    }
    if (stepTokens != null && stepTokens < 1) {
      throw Setting.of("stepTokens").refuse(stepTokens, "at least 1");
    }
    if (rate != null && !(rate > 0 && rate <= 1)) {
      throw Setting.of("rate").refuse(rate, "a number above 0, at most 1");
    }
    if (labelShare != null && !(labelShare >= 0 && labelShare <= 1)) {
      throw Setting.of("labelShare").refuse(labelShare, "0 to 1");
    }
    if (lora != null && !(lora >= 1 && lora <= MOST_RANK)) {
      throw Setting.of("lora").refuse(lora, "1 to " + MOST_RANK);
    }
    if (loraAlpha != null && !(loraAlpha > 0 && loraAlpha <= MOST_ALPHA)) {
      throw Setting.of("loraAlpha").refuse(loraAlpha, "a number above 0, at most " + MOST_ALPHA);
    }
    if (loraAlpha != null && lora == null) {
      throw Setting.of("loraAlpha")
          .refuse(loraAlpha, " is of adapters: ", "give " + Setting.of("lora") + ", too");
    }
    if (lora != null) {
      requireFull("optimizer", optimizer, Optimizer.ADAMW);
      requireFull("masters", masters, Masters.F32);
    }
  }

  private static void requireFull(String setting, Object value, Object full) {
    if (!value.equals(full)) {
      throw Setting.of(setting)
          .refuse(
              value,
              " and " + Setting.of("lora") + " exclude each other: ",
              "leave one of them out; adapters are trained in f32");
    }
  }

  /** The same with so many tokens that the original writes itself. */
  HealSettings withSamples(long others) {
    return with(others, tokens, layers);
  }

  /** The same of other layers. */
  public HealSettings withLayers(Layers others) {
    return with(samples, tokens, others);
  }

  /** The same on another number of tokens, and of other layers. */
  public HealSettings with(@Nullable Long otherTokens, Layers otherLayers) {
    return with(samples, otherTokens, otherLayers);
  }

  private HealSettings with(
      @Nullable Long otherSamples, @Nullable Long otherTokens, @Nullable Layers otherLayers) {
    return new HealSettings(
        texts,
        otherSamples,
        otherTokens,
        stepTokens,
        rate,
        labelShare,
        otherLayers,
        seed,
        lora,
        loraAlpha,
        optimizer,
        masters);
  }

  /** What AdamW holds of the weights in training. */
  AdamWState held() {
    return new AdamWState(optimizer == Optimizer.ADAMW_8BIT, masters == Masters.F32);
  }

  /**
   * The first layer that is trained.
   *
   * @param changed the first layer that is not the original's
   */
  public int firstTrained(int changed) {
    return layers == Layers.ALL ? 0 : changed;
  }

  /**
   * Whether all layers are trained where all of the training stays in memory: within a time, fewer
   * tokens for all layers are worth more than more tokens for those behind the first gap, by the
   * same operations.
   *
   * @param within seconds that the whole job may take; null for no limit
   */
  public boolean mayTrainAll(@Nullable Double within) {
    return within != null && layers == null;
  }

  /** Whether nothing is said of what is trained, on which text, and for how long. */
  public boolean leavesLengthOpen() {
    return texts.isEmpty() && samples == null && tokens == null && layers == null;
  }

  /** The adapters that are trained; null where all tensors of the layers are. */
  @Nullable Adapters adapters() {
    return lora == null ? null : new Adapters(lora, loraAlpha == null ? 2.0 * lora : loraAlpha);
  }

  /** Defaults for everything. */
  public static final HealSettings DEFAULT =
      new HealSettings(
          List.of(),
          null,
          null,
          null,
          null,
          null,
          null,
          0L,
          null,
          null,
          Optimizer.ADAMW,
          Masters.F32);

  /**
   * Checks the time that a job with such a training may take.
   *
   * @param within seconds; null for no limit
   * @throws dev.laco.UsageException if it is no time, or a number of tokens is given, too
   */
  public void requireGoesWith(@Nullable Double within) {
    if (within == null) {
      return;
    }
    if (!(within > 0 && within < 1e9)) {
      throw Setting.of("within").refuse(within, "a time above 0");
    }
    if (tokens != null) {
      throw Setting.of("healTokens")
          .refuse(
              tokens,
              " and " + Setting.of("within") + " exclude each other: ",
              "leave one of them out");
    }
  }
}
