package dev.laco.run;

import dev.laco.DeviceInfo;
import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.Objective;
import dev.laco.model.ModelConfig;
import dev.laco.text.TextChunks.Chunk;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * About how many seconds the stages of a job take: matrix products, counted by their shapes, at the
 * rate of the device, and beside them values that norms, attention, activations and sums read and
 * write, which in a small model take longer than its products. It is what a person is told
 * beforehand; {@link JobProgress} corrects it.
 */
public final class JobEstimate {
  /** How often a layer goes through the hidden states of its tokens, beside the products. */
  private static final int HIDDEN_VALUES = 10;

  /** The same through the channels of its feed-forward part. */
  private static final int CHANNEL_VALUES = 4;

  /** Values a second that a thread reads and writes, from one operation to the next. */
  private static final double THREAD_VALUES = 2e9;

  /** The bytes of a value that is read and written. */
  private static final int VALUE_BYTES = 2 * Float.BYTES;

  /** Behind the first gap, which is about here, every layer is fitted by the dear rules. */
  private static final double BEHIND = 2.0 / 3;

  private final ModelConfig config;

  /** Seconds that a token takes in a layer. */
  private final double layer;

  /** The same in the output projection. */
  private final double head;

  /** Of jobs of a model on a device. */
  public JobEstimate(Model model, Device backend) {
    config = model.config();
    double products = backend.operationsPerSecond(backend.productType(model.weightType()));
    double value = secondsPerValue(backend);
    long layerValues =
        (long) HIDDEN_VALUES * config.hiddenSize()
            + (long) CHANNEL_VALUES * config.intermediateSize();
    layer = 2.0 * config.layerParameters() / products + layerValues * value;
    head = 2.0 * config.vocabSize() * config.hiddenSize() / products + config.vocabSize() * value;
  }

  private static double secondsPerValue(Device backend) {
    DeviceInfo.Memory memory = backend.info().memory();
    if (memory == null) {
      return 1 / (THREAD_VALUES * backend.hostThreads());
    }
    // Where it is not known how fast a device's memory is, products are all that can be counted.
    return memory.bytesPerSecond() == 0 ? 0 : VALUE_BYTES / memory.bytesPerSecond();
  }

  /** A model of so many layers runs over tokens and predicts the next. */
  public double pass(long tokens, int layers) {
    return tokens * (layers * layer + head);
  }

  /** The same over a text. */
  public double pass(List<Chunk> chunks, int layers) {
    return pass(chunks.stream().mapToLong(Chunk::length).sum(), layers);
  }

  /**
   * A search; each model has about half of its layers in common with another.
   *
   * @param models that are scored, each on so many tokens
   * @param target depth that is sought; null where it is not known
   */
  public double search(long models, @Nullable Integer target, Objective objective, long tokens) {
    int depth = config.numHiddenLayers();
    double layers = (depth + (target == null ? depth / 2 : target)) / 4.0;
    double heads = objective.needsLanguage() ? head : 0;
    return models * tokens * (layers * layer + heads);
  }

  /** The choice among models before a fit. */
  public double choice(FitRule rule, int attempts, int strengths, int tokens, int target) {
    return attempts * fit(rule.atGapsOnly(), tokens, target)
        + strengths * fit(rule.withoutSteps(), tokens, target);
  }

  /** A fit on so many tokens: both models run, and some layers are fitted. */
  public double fit(FitRule rule, int tokens, int target) {
    double fitted = rule.later() ? BEHIND * target : config.numHiddenLayers() - target;
    double passes = config.numHiddenLayers() + target + fitted * rule.layerPasses();
    return tokens * passes * layer;
  }
}
