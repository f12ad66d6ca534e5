package dev.laco.report;

import dev.laco.collapse.CollapsePlan;
import org.jspecify.annotations.Nullable;

/**
 * How close the outputs of a pruned model are to the original's on a text.
 *
 * @param similarity mean over chunks of the cosine of the final hidden states, all positions of a
 *     chunk in one vector (LaCo, arXiv 2402.11187, section 3.3)
 * @param divergence mean {@code KL(original || pruned)} of the predictions of the scored tokens,
 *     nats
 * @param perplexity of the pruned model
 */
public record Fidelity(double similarity, double divergence, Perplexity perplexity) {
  /**
   * What the plan of the pruned model tells of its measurement; null where a number is not finite.
   *
   * @param text names the text for people
   * @param dense perplexity of the original on the same text
   * @param training how the pruned model was trained; null where it was not
   */
  public CollapsePlan.@Nullable Results results(
      String text, Perplexity dense, CollapsePlan.@Nullable Training training) {
    return Double.isFinite(similarity) && Double.isFinite(divergence)
        ? new CollapsePlan.Results(
            text, dense.perplexity(), perplexity.perplexity(), similarity, divergence, training)
        : null;
  }
}
