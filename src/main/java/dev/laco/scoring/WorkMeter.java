package dev.laco.scoring;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Work;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorGroup;
import dev.laco.model.TensorSource;
import java.util.BitSet;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/** Counts the passes, bytes and operations of a scorer, as {@link Work} defines them. */
final class WorkMeter {
  private final ModelConfig config;
  private final PackedSequences calibration;
  private final TensorSource source;
  private final long headOperations;
  private final Map<TensorGroup, BitSet> read = new EnumMap<>(TensorGroup.class);
  private final Set<LayerMix> storedRead = new HashSet<>();
  private final Set<CollapsePlan> decided = new HashSet<>();
  private long passes;
  private long rescored;
  private long bytesRead;
  private long operations;

  /**
   * A meter at zero.
   *
   * @param headProducts products by the output matrix for each candidate
   */
  WorkMeter(
      ModelConfig config, TensorSource source, PackedSequences calibration, int headProducts) {
    this.config = config;
    this.calibration = calibration;
    this.source = source;
    this.headOperations =
        2L * headProducts * calibration.size() * config.vocabSize() * config.hiddenSize();
    for (TensorGroup group : TensorGroup.values()) {
      read.put(group, new BitSet());
    }
  }

  void beginPass() {
    passes++;
    read.values().forEach(BitSet::clear);
    storedRead.clear();
  }

  /**
   * Counts one layer that ran for {@code candidates} candidates.
   *
   * @param stored whether what is mixed of it was stored before, so that it is read in the place of
   *     its sources
   */
  void ran(LayerMix mix, boolean stored, int candidates) {
    operations += candidates * operations(mix);
    boolean again = stored && !storedRead.add(mix);
    for (TensorGroup group : TensorGroup.values()) {
      if (stored && !mix.of(group).isCopy()) {
        bytesRead += again ? 0 : bytes(mix.base(), group);
        continue;
      }
      BitSet layers = read.get(group);
      for (int layer : mix.of(group).terms().keySet()) {
        if (layers != null && !layers.get(layer)) {
          layers.set(layer);
          bytesRead += bytes(layer, group);
        }
      }
    }
  }

  /** Counts the products with the head for some candidates. */
  void comparedTokens(int candidates) {
    operations += candidates * headOperations;
  }

  /** Counts the latest pass as one that scored a plan a second time, alone. */
  void rescored() {
    passes--;
    rescored++;
  }

  /** Adds a plan to those whose scores decide something. */
  void decided(CollapsePlan plan) {
    decided.add(plan);
  }

  /** Removes a plan from those whose scores decide something. */
  void dropped(CollapsePlan plan) {
    decided.remove(plan);
  }

  int passes() {
    return Math.toIntExact(passes);
  }

  Work work(CollapsePlan original) {
    long floor =
        tail(original, 0)
            + decided.stream()
                .mapToLong(plan -> tail(plan, plan.sharedPrefix()) + headOperations)
                .sum();
    long once = 0;
    for (int layer = 0; layer < original.depth(); layer++) {
      for (TensorGroup group : TensorGroup.values()) {
        once += bytes(layer, group);
      }
    }
    return new Work(passes, rescored, bytesRead, operations, floor, once);
  }

  private long tail(CollapsePlan plan, int from) {
    return plan.layers().subList(from, plan.depth()).stream().mapToLong(this::operations).sum();
  }

  private long operations(LayerMix mix) {
    long products = 2L * calibration.size() * config.activeParameters(mix.base());
    LayerAttention attention = config.attention().get(mix.base());
    if (!attention.hasSoftmax()) {
      return products + calibration.size() * config.mixerOperations(attention.mixer());
    }
    long pairs = 0;
    for (int s = 0; s < calibration.sequences(); s++) {
      pairs += pairs(calibration.length(s), attention.window());
    }
    return products + config.attendedOperations() * pairs;
  }

  /** Number of pairs of a query and a key that it attends to. */
  private static long pairs(long tokens, int window) {
    long full = window == 0 ? tokens : Math.min(tokens, window);
    return full * (full + 1) / 2 + (tokens - full) * full;
  }

  private long bytes(int layer, TensorGroup group) {
    return config.architecture().layerTensors(config, layer).stream()
        .filter(spec -> spec.group() == group)
        .map(spec -> config.architecture().tensorName(layer, spec))
        .mapToLong(source::byteSize)
        .sum();
  }
}
