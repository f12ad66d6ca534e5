package dev.laco.run;

import dev.laco.DeviceInfo;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.Objective;
import dev.laco.fit.BlockMeasure;
import dev.laco.fit.CarryOver;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.QuickFits;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks.Chunk;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Estimates how many seconds the stages of a job take. The estimate counts the operations of matrix
 * products and of attention at the device's rate, and the values that norms, attention, activations
 * and sums read and write at the rate of its memory. In a small model the latter take longer. A
 * person is told the estimate before the job; {@link dev.laco.JobProgress} corrects it while the
 * job runs.
 */
public final class JobEstimate {
  /** How often a layer reads and writes the hidden states of its tokens, products aside. */
  private static final int HIDDEN_VALUES = 10;

  /** How often a layer reads and writes its feed-forward channels, products aside. */
  private static final int CHANNEL_VALUES = 4;

  /** Tokens that a token attends to in the mean: half of a chunk of text. */
  private static final int ATTENDED = FitText.CHUNK_TOKENS / 2;

  /**
   * How much longer operations of attention, linear or not, take than products in the same type.
   */
  private static final double ATTENTION_SLOWER = 2;

  /** Values that one CPU thread reads and writes in a second. */
  private static final double THREAD_VALUES = 2e9;

  /** Bytes that are moved for a value that is read and written. */
  private static final int VALUE_BYTES = 2 * Float.BYTES;

  /**
   * Where in the pruned model the first gap is taken to be, as a share of its layers. The rules
   * that take longest fit every layer behind it.
   */
  private static final double BEHIND = 2.0 / 3;

  /**
   * How many values a step of training reads and writes for each weight of an expert, beside
   * products with the tokens that the expert is given.
   */
  private static final int UPDATE_VALUES = 7;

  /**
   * Passes that gradients by hidden states cost: two forward, since results are not kept, and one
   * backward.
   */
  private static final int GRADIENT_PASSES = 3;

  private final ModelConfig config;

  /** Operations of products of the model's matrices in a second. */
  private final double products;

  /** Seconds of one token in one layer, where a text is cut into short chunks. */
  private final double layer;

  /** Seconds in which one token attends to another one in one layer, in the mean of all layers. */
  private final double attention;

  /** Seconds in which a step of training changes the weights that its tokens do not meet. */
  private final double update;

  /** Seconds of one token in the output projection. */
  private final double head;

  /** Operations of products of f32 in a second. */
  private final double f32Products;

  /** Operations in f64 in a second. */
  private final double f64;

  /** Seconds in which a value is read and written. */
  private final double value;

  /** Estimates for jobs of a model on a device. */
  public JobEstimate(Model model, Device backend) {
    config = model.config();
    DType type = backend.productType(model.weightType());
    products = backend.operationsPerSecond(type);
    f32Products = backend.operationsPerSecond(DType.F32);
    f64 = backend.f64OperationsPerSecond();
    value = secondsPerValue(backend);
    int last = config.numHiddenLayers() - 1;
    long layerValues =
        (long) HIDDEN_VALUES * config.hiddenSize()
            + (long) CHANNEL_VALUES * config.activeChannels(last);
    long active = config.activeParameters(last);
    List<LayerAttention> mixers = config.attention();
    double softmaxShare =
        mixers.stream().mapToInt(own -> own.hasSoftmax() ? 1 : 0).average().orElseThrow();
    double states =
        mixers.stream()
                .mapToLong(own -> config.mixerOperations(own.mixer()))
                .average()
                .orElseThrow()
            / f32Products;
    attention =
        softmaxShare
            * config.attendedOperations()
            * ATTENTION_SLOWER
            / backend.operationsPerSecond(backend.keyValueType(type, config.headDim()));
    layer =
        2.0 * active / products
            + ATTENDED * attention
            + ATTENTION_SLOWER * states
            + layerValues * value;
    update = (double) UPDATE_VALUES * (config.layerParameters(last) - active) * value;
    head = 2.0 * config.vocabSize() * config.hiddenSize() / products + config.vocabSize() * value;
  }

  private static double secondsPerValue(Device backend) {
    DeviceInfo.Memory memory = backend.info().memory();
    if (memory == null) {
      return 1 / (THREAD_VALUES * backend.hostThreads());
    }
    // Where the rate of a device's memory is not known, only products are counted.
    return memory.bytesPerSecond() == 0 ? 0 : VALUE_BYTES / memory.bytesPerSecond();
  }

  /**
   * Seconds of a pass in which a model of {@code layers} layers runs over {@code tokens} tokens and
   * predicts each next one.
   */
  public double pass(long tokens, int layers) {
    return tokens * (layers * layer + head);
  }

  /** Seconds in which {@code layers} layers run over {@code tokens} tokens. */
  public double layers(long tokens, int layers) {
    return (double) tokens * layers * layer;
  }

  /** Seconds of a pass over the chunks of a text, of which long ones take longer. */
  public double pass(List<Chunk> chunks, int layers) {
    return chunks.stream().mapToDouble(chunk -> pass(chunk.length(), layers)).sum()
        + layers * attention * chunks.stream().mapToDouble(JobEstimate::attendedMore).sum();
  }

  /** How many more pairs of tokens there are in a chunk than the usual time of a layer counts. */
  private static double attendedMore(Chunk chunk) {
    return (double) chunk.length() * Math.max(0, chunk.length() / 2 - ATTENDED);
  }

  /**
   * Seconds in which a model of {@code layers} layers writes {@code tokens} tokens of each of some
   * texts at a time: each step reads all weights.
   */
  public double generation(int texts, int tokens, int layers) {
    double weights =
        (double) layers * config.layerParameters()
            + (double) config.vocabSize() * config.hiddenSize();
    return tokens * (pass(texts, layers) + weights * Short.BYTES / VALUE_BYTES * value);
  }

  /**
   * Seconds of the dot products of every layer's matrices with every other's.
   *
   * @param elements of the matrices of all layers
   */
  public double pairs(long elements) {
    return elements * (2.0 * config.numHiddenLayers() / f32Products + value);
  }

  /**
   * Seconds of a search. Each scored model is taken to share half of its layers with another.
   *
   * @param models the number of models that are scored
   * @param target the number of layers that is sought; null where it is not known
   * @param tokens the tokens on which each model is scored
   */
  public double search(long models, @Nullable Integer target, Objective objective, long tokens) {
    int depth = config.numHiddenLayers();
    double layers = (depth + (target == null ? depth / 2 : target)) / 4.0;
    double heads = objective.needsLanguage() ? head : 0;
    return models * tokens * (layers * layer + heads);
  }

  /**
   * Seconds in which a search in closed form measures its blocks: a walk of the original, for every
   * layer a fit to what the layers behind it add, and on few tokens a pass forward and backward, or
   * for every layer a run of those behind.
   */
  public double blocks(BlockSettings blocks, FitText text) {
    double features = BlockMeasure.features(config);
    double heldOut = BlockMeasure.HELD_OUT_TOKENS;
    double lengths = (double) blocks.removed() / blocks.align();
    double fit =
        2 * (features * (features + heldOut) + lengths * heldOut * config.hiddenSize()) / products;
    double system = (features / 3 + 2 * heldOut) * features * features / f64;
    int depth = blocks.highest() - blocks.lowest();
    int layers = config.numHiddenLayers();
    double predictions =
        config.normsOutputs()
            ? depth
                * (layers(BlockMeasure.HELD_OUT_TOKENS, layers) / 2
                    + BlockMeasure.HEADS_OF_RUN * heldOut * head)
            : GRADIENT_PASSES * pass(BlockMeasure.HELD_OUT_TOKENS, layers);
    return depth * (BlockMeasure.tokens(config, text) * (layer + fit) + system) + predictions;
  }

  /**
   * Tells a job's progress the stages of a {@link FittedChoice}.
   *
   * @param whose as for the constructor of {@link FittedChoice}
   * @param contenders the most models that are fitted on few tokens
   * @param text of the quick fits
   * @param tokens that the chosen model is fitted on
   * @param target layers that are left
   */
  public void expectFit(
      JobProgress job,
      String whose,
      QuickFits quick,
      int contenders,
      FitText text,
      int tokens,
      int target) {
    job.expect(FittedChoice.choiceStage(whose), choice(quick, contenders, text, target));
    job.expect(FittedChoice.fitStage(whose), fit(quick.rule(), tokens, target, false));
  }

  /** Layers of a pruned model of {@code target} layers that are taken to lie behind a gap. */
  public static int behind(int target) {
    return (int) Math.ceil(BEHIND * target);
  }

  /** Seconds of the quick fits that choose a model, and of their measurement. */
  public double choice(QuickFits quick, int contenders, FitText text, int target) {
    if (quick.isNeedless(contenders)) {
      return 0;
    }
    int tokens = quick.seen(config, text).tokens();
    int models = contenders + quick.strengths().size();
    // Layers in front of the gaps run once for all models.
    return tokens * config.numHiddenLayers() * layer
        + contenders * quickFit(quick.cheap(), tokens, target)
        + quick.strengths().size() * quickFit(quick.rule(), tokens, target)
        + (1 + models) * pass(quick.judged(text).tokens(), target);
  }

  /** Seconds of a fit that goes on from the hidden states in front of the first gap. */
  private double quickFit(FitRule rule, int tokens, int target) {
    if (!rule.changesGapsOnly()) {
      return fit(rule, tokens, target, true);
    }
    int removed = config.numHiddenLayers() - target;
    return tokens * removed * (1 + CarryOver.layerPasses(rule, config, tokens)) * layer;
  }

  /**
   * Seconds of a fit on {@code tokens} tokens of a model that is not known yet.
   *
   * @param target layers that are left
   * @param trained whether a training of all weights follows
   */
  public double fit(FitRule rule, int tokens, int target, boolean trained) {
    return fit(rule, tokens, target, BEHIND * target, trained);
  }

  /** Seconds of a fit on {@code tokens} tokens of a plan's model. */
  public double fit(FitRule rule, int tokens, CollapsePlan plan, boolean trained) {
    return fit(rule, tokens, plan.depth(), CarryOver.mostFitted(plan), trained);
  }

  /**
   * The original runs over all tokens up to the last layer that is fitted, and so do the layers
   * that are fitted.
   *
   * @param behind layers behind the first gap, of which a rule may fit all
   */
  private double fit(FitRule rule, int tokens, int target, double behind, boolean trained) {
    boolean gaps = rule.changesGapsOnly();
    double fitted =
        gaps ? config.numHiddenLayers() - target : CarryOver.share(rule, tokens) * behind;
    double run = config.numHiddenLayers() - (gaps ? 0 : behind - fitted);
    double passes = run + fitted * (1 + CarryOver.layerPasses(rule, config, tokens));
    return tokens * passes * layer
        + fitted * CarryOver.steps(rule, tokens) * update
        + CarryOver.normTime(rule, config, tokens, trained, behind, layer, head);
  }
}
