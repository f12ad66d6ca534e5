package dev.laco.evaluate;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * How fast a model is, and which memory serving it takes.
 *
 * @param model the model's folder
 * @param prefill how fast it reads a prompt
 * @param decoding how fast it writes a text, one token after the other
 * @param weightBytes bytes of its weights
 * @param cacheBytes bytes of keys and values for each token in 16 bits, as servers hold them
 */
public record Throughput(
    Path model, Rate prefill, Rate decoding, long weightBytes, long cacheBytes) {
  /** The length of a text for which the size of the cache is told, in tokens. */
  public static final int CONTEXT = 4096;

  /**
   * A rate.
   *
   * @param tokensPerSecond the median of all runs
   * @param speedup the median over the runs of how many times as fast as the dense model's run
   *     beside it the run was; 1 of the dense model
   * @param interval the 95 % interval of that median; null of the dense model
   */
  public record Rate(double tokensPerSecond, double speedup, @Nullable Interval interval) {}

  /** Bytes of the keys and values of a text of {@link #CONTEXT} tokens. */
  public long contextBytes() {
    return CONTEXT * cacheBytes;
  }
}
