package dev.laco.training;

import dev.laco.backend.Device;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.AdamWState;
import org.jspecify.annotations.Nullable;

/**
 * How a pruned model is trained. Training takes steps of AdamW, whose learning rate follows {@link
 * dev.laco.transformer.RateSchedule}.
 *
 * @param stepTokens tokens of one step, at most; a step has at least one chunk
 * @param byLength whether a training that would have few steps has smaller ones, and one that would
 *     have many has larger ones
 * @param batchTokens tokens of a step that run through the models at once, at most, but at least
 *     one chunk
 * @param rate the peak of the learning rate that suits a model from which layers were removed and
 *     that was not fitted
 * @param decay weight decay of matrices
 * @param clip the largest norm of all gradients together; larger ones are scaled down to it
 * @param labels share of the loss that is the language model's own
 * @param measurements how often the held-out text is measured while training, at most
 * @param seed of the order of the text, of what adapters begin with, and of rounding at random
 * @param adapters what is trained in place of all tensors of the layers; null for these
 * @param held what AdamW holds of all tensors of the layers; of adapters it holds everything in f32
 */
public record DistillationSettings(
    int stepTokens,
    boolean byLength,
    int batchTokens,
    double rate,
    double decay,
    double clip,
    LabelShare labels,
    int measurements,
    long seed,
    @Nullable Adapters adapters,
    AdamWState held) {
  /** A training that would have at most so many steps has few of them. */
  private static final int FEW_STEPS = 64;

  /** A training has larger steps than usual where it has at least so many of them. */
  private static final int MANY_STEPS = 1024;

  /** How many times the usual tokens a step has, at most. */
  private static final int MOST_LARGER = 4;

  /** How often the held-out text is usually measured while training, at most. */
  private static final int MEASUREMENTS = 10;

  /** How often it is usually measured at least. */
  private static final int LEAST_MEASUREMENTS = 1;

  /**
   * Tokens of training between two measurements, at least. A measurement takes half of the time of
   * a training on as many tokens; these are four times those of a measurement.
   */
  private static final int TOKENS_PER_MEASUREMENT = 16_384;

  /** Tokens that keep a processor busy. */
  private static final int BATCH_TOKENS = 1024;

  /**
   * How many times the memory of other buffers those of a batch may take: training is what a job
   * takes most of its time for.
   */
  private static final int SHARE_OF_MEMORY = 4;

  /** What AdamW keeps of the running mean of gradients. */
  static final double BETA1 = 0.9;

  /** What AdamW keeps of the running mean of their squares. */
  static final double BETA2 = 0.95;

  /** What AdamW adds to the root of a running square. */
  static final double EPSILON = 1e-8;

  /** Parameters whose learning rate is {@link #USUAL_RATE}. */
  private static final double USUAL_PARAMETERS = 4e7;

  private static final double USUAL_RATE = 3e-4;

  /**
   * How much higher the learning rate of adapters is than that of all parameters of the same
   * layers; it does not depend on the rank (Schulman et al. 2025, "LoRA Without Regret").
   */
  private static final double RATE_OF_ADAPTERS = 10;

  /**
   * What suits a model: the larger it is, the lower its learning rate and the more tokens in a
   * step.
   *
   * @param parameters of the layers that are trained
   * @param adapters what is trained of them; null for all parameters
   * @param held what AdamW holds
   */
  public static DistillationSettings forModel(
      long parameters, @Nullable Adapters adapters, AdamWState held) {
    double size = parameters / USUAL_PARAMETERS;
    double rate = USUAL_RATE / Math.cbrt(Math.max(size, 0.1));
    int step = size < 4 ? 1024 : size < 40 ? 4096 : 16384;
    return new DistillationSettings(
        step,
        true,
        BATCH_TOKENS,
        adapters == null ? rate : RATE_OF_ADAPTERS * rate,
        0,
        1,
        LabelShare.of(null),
        MEASUREMENTS,
        0,
        adapters,
        held);
  }

  /**
   * The same with batches that suit a device, which are no larger than the largest step.
   *
   * @param trained number of trained layers
   */
  public DistillationSettings on(Device device, ModelConfig config, int trained) {
    long each = Passes.bytes(config, 1, trained, Residence.EVERYTHING) / SHARE_OF_MEMORY;
    int largest = byLength ? MOST_LARGER * stepTokens : stepTokens;
    int tokens = Math.min(device.batchTokens(batchTokens, each), Math.max(batchTokens, largest));
    return with(stepTokens, byLength, tokens);
  }

  /** The same with steps of at most so many tokens, however short a training is. */
  DistillationSettings withStepTokens(int tokens) {
    return with(tokens, false, batchTokens);
  }

  private DistillationSettings with(int step, boolean stepsByLength, int batch) {
    return new DistillationSettings(
        step, stepsByLength, batch, rate, decay, clip, labels, measurements, seed, adapters, held);
  }

  /**
   * Tokens of one step of a training on so many tokens, at most. A training that would have few
   * steps has smaller ones, which are worth more than the time that they take
   * (docs/experiments/time.md, "A short time"). One that would have many has larger ones where the
   * device runs them at once, and takes less time for each of their tokens
   * (docs/experiments/distillation.md, "Larger steps").
   */
  public int stepTokens(long tokens) {
    if (!byLength) {
      return stepTokens;
    }
    if (hasFewSteps(tokens)) {
      return Math.max(1, stepTokens / 2);
    }
    int larger = stepTokens;
    while (2 * larger <= batchTokens && tokens >= 2L * larger * MANY_STEPS) {
      larger *= 2;
    }
    return larger;
  }

  /** Whether a training on so many tokens has few steps, and no room to make up for a high rate. */
  boolean hasFewSteps(long tokens) {
    return tokens <= (long) FEW_STEPS * stepTokens;
  }

  /**
   * How often the held-out text is measured in a training on so many tokens, the measurement before
   * the first step left out.
   */
  public int measurements(long tokens) {
    int usual = Math.clamp(tokens / TOKENS_PER_MEASUREMENT, LEAST_MEASUREMENTS, MEASUREMENTS);
    return Math.min(measurements, usual);
  }
}
