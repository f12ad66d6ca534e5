package dev.laco.collapse;

/**
 * What the removal of a block of layers costs a model whose layer in front of the block is fitted
 * to do the work of the block, too.
 *
 * @param block the removed layers
 * @param unexplained the share of the hidden states behind the block, 0 to 1, that the fitted layer
 *     cannot make; every token counts alike
 * @param divergence about how far the predictions move: KL divergence from the original's, nats a
 *     token
 */
public record BlockCost(BlockSettings.Block block, double unexplained, double divergence) {}
