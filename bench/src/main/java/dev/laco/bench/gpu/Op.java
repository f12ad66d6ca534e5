package dev.laco.bench.gpu;

import dev.laco.bench.Target;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** An op of the engine, in the ABI of its kernels. */
interface Op {
  /** The value of {@code --op}. */
  String name();

  /**
   * Ours: the readable ones first, and last for each dtype the one that a user's is launched as.
   */
  List<Variant> variants();

  /**
   * The sizes at which it is timed.
   *
   * @param trial tokens of a trial
   * @param large many tokens
   */
  List<Sizes> timed(Sizes trial, Sizes large);

  /** Whether a variant is for such sizes. */
  default boolean takes(Variant variant, Sizes sizes) {
    return true;
  }

  /** What of the sizes counts, for people. */
  default String describe(Sizes sizes) {
    return sizes.text();
  }

  /** Makes up data on the device, and says what must be done with it. */
  Job prepare(Variant variant, Sizes sizes, Lab lab);

  /** What the project wants of a variant on a card, null where it has said nothing. */
  default @Nullable Target target(Variant variant, Sizes sizes, BenchDevice card) {
    return null;
  }
}
