package dev.laco.bench.gpu;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * The shapes of a model, at the sizes that each op is timed at, or at sizes that the user gives.
 *
 * @param axes values that the user gives for an axis; none of an axis leaves it as it is
 */
record Shape(String model, Map<Axis, List<Integer>> axes) {
  /** What of the sizes a user can choose. */
  enum Axis {
    /** Of each sequence. */
    TOKENS,
    SEQUENCES,
    CANDIDATES,
    /** Width of the hidden states. */
    HIDDEN,
    /** Width of the feed-forward network. */
    INNER
  }

  Shape {
    axes = axes.isEmpty() ? Map.of() : Map.copyOf(new EnumMap<>(axes));
  }

  /** The sizes at which an op is timed. */
  List<Sizes> timed(Op op) {
    if (axes.isEmpty()) {
      return op.timed(Sizes.trial(model), Sizes.large(model));
    }
    List<Sizes> sizes = List.of(Sizes.large(model));
    for (Axis axis : Axis.values()) {
      List<Sizes> more = new ArrayList<>();
      for (Sizes before : sizes) {
        List<Integer> values = axes.getOrDefault(axis, List.of());
        values.forEach(value -> more.add(before.with(axis, value)));
        if (values.isEmpty()) {
          more.add(before);
        }
      }
      sizes = more;
    }
    return sizes;
  }
}
