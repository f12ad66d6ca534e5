package dev.laco.report;

/**
 * How far the predictions of a pruned model are from the original's at some positions of a window.
 *
 * @param first the first position, from 0: the number of tokens in front of the predicted one, less
 *     one
 * @param last the last position
 * @param tokens predicted tokens at these positions, of all windows
 * @param divergence mean {@code KL(original || pruned)} of their predictions, nats
 */
public record PositionDivergence(int first, int last, long tokens, double divergence) {}
