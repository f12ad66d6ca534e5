package dev.laco.report;

/**
 * How close the outputs of a pruned model are to the original's on a text.
 *
 * @param similarity mean over chunks of the cosine of the final hidden states, all positions of a
 *     chunk in one vector (LaCo, arXiv 2402.11187, section 3.3)
 * @param divergence mean {@code KL(original || pruned)} of the predictions of the scored tokens,
 *     nats
 * @param perplexity of the pruned model
 */
public record Fidelity(double similarity, double divergence, Perplexity perplexity) {}
