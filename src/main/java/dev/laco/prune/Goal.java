package dev.laco.prune;

import com.fasterxml.jackson.annotation.JsonCreator;
import com.fasterxml.jackson.annotation.JsonSubTypes;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import com.fasterxml.jackson.annotation.JsonValue;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.checkpoint.WrittenSizes;
import java.math.BigDecimal;
import java.util.function.Supplier;

/**
 * When a model is shallow enough. As JSON: {@code {"threshold":0.65}}, {@code {"layers":24}},
 * {@code {"ratio":0.25}} or {@code {"bytes":16000000000}}.
 */
@JsonTypeInfo(use = JsonTypeInfo.Id.NAME, include = JsonTypeInfo.As.WRAPPER_OBJECT)
@JsonSubTypes({
  @JsonSubTypes.Type(value = Goal.Threshold.class, name = "threshold"),
  @JsonSubTypes.Type(value = Goal.Layers.class, name = "layers"),
  @JsonSubTypes.Type(value = Goal.Ratio.class, name = "ratio"),
  @JsonSubTypes.Type(value = Goal.Bytes.class, name = "bytes")
})
public sealed interface Goal {
  /**
   * The paper's loop accepts every merge whose mean similarity is above a threshold T.
   *
   * @param similarity -1 to 1
   */
  record Threshold(@JsonValue double similarity) implements Goal {
    @JsonCreator(mode = JsonCreator.Mode.DELEGATING)
    public Threshold {
      if (!(similarity >= -1 && similarity <= 1)) {
        throw Setting.of("threshold").refuse(similarity, "-1 to 1");
      }
    }
  }

  /**
   * A number of layers is left.
   *
   * @param count layers
   */
  record Layers(@JsonValue int count) implements Goal {
    @JsonCreator(mode = JsonCreator.Mode.DELEGATING)
    public Layers {}
  }

  /**
   * A share R of the n layers is removed: {@code ceil(n (1 - R))} are left.
   *
   * @param removed at least 0 and below 1, exact
   */
  record Ratio(@JsonValue BigDecimal removed) implements Goal {
    @JsonCreator(mode = JsonCreator.Mode.DELEGATING)
    public Ratio {
      if (removed.signum() < 0 || removed.compareTo(BigDecimal.ONE) >= 0) {
        throw Setting.of("targetRatio").refuse(removed, "at least 0 and below 1");
      }
      // So that a share of 0.30 equals one of 0.3.
      removed = removed.stripTrailingZeros();
    }
  }

  /**
   * As many layers are left as weights of a size hold.
   *
   * @param weights bytes of the weights as they are written
   */
  record Bytes(@JsonValue long weights) implements Goal {
    @JsonCreator(mode = JsonCreator.Mode.DELEGATING)
    public Bytes {}

    /**
     * The largest depth whose weights fit, whichever layers are kept.
     *
     * @param sizes of the weights as they will be written
     * @param asked the setting that has the size, for errors
     * @throws UsageException if one layer is too large
     */
    public int depth(WrittenSizes sizes, Setting asked) {
      int depth = sizes.layers().size();
      while (depth > 0 && sizes.most(depth) > weights) {
        depth--;
      }
      if (depth == 0) {
        throw asked.refuse(
            weights,
            ": ",
            "the smallest, with one layer, has " + sizes.most(1) + " bytes of weights");
      }
      return depth;
    }
  }

  /** A quarter of the layers is removed: the default. */
  Goal QUARTER = ratio(new BigDecimal("0.25"));

  /** The goal of a {@link Threshold}. */
  static Goal threshold(double similarity) {
    return new Threshold(similarity);
  }

  /** The goal of {@link Layers}. */
  static Goal layers(int count) {
    return new Layers(count);
  }

  /** The goal of a {@link Ratio}. */
  static Goal ratio(BigDecimal removed) {
    return new Ratio(removed);
  }

  /** The goal of {@link Bytes}. */
  static Goal bytes(long weights) {
    return new Bytes(weights);
  }

  /**
   * The number of layers that a model is to have, which is written as a folder in the types in
   * which its weights are read.
   *
   * @throws UsageException if the model cannot have that size, or the goal is a threshold
   */
  default int depth(Model model) {
    return depth(model, () -> WrittenSizes.inFolder(model.checkpoint(), null));
  }

  /**
   * The number of layers that a model is to have.
   *
   * @param sizes of its weights as they will be written; asked for where the goal is a size in
   *     bytes
   * @throws UsageException if the model cannot have that size, or the goal is a threshold
   */
  default int depth(Model model, Supplier<WrittenSizes> sizes) {
    int depth = model.config().numHiddenLayers();
    return switch (this) {
      case Layers goal -> {
        if (goal.count < 1 || goal.count > depth) {
          throw Setting.of("targetLayers").refuse(goal.count, "1 to the model's depth, " + depth);
        }
        yield goal.count;
      }
      // ceil(n (1 - R)), exact.
      case Ratio goal -> depth - goal.removed.multiply(BigDecimal.valueOf(depth)).intValue();
      case Bytes goal -> goal.depth(sizes.get(), Setting.of("targetBytes"));
      case Threshold goal ->
          throw Setting.of("threshold").refuse(goal.similarity, " is no size: ", "give a target");
    };
  }
}
