package dev.laco.report;

/**
 * A measurement of a model in training, on held-out text.
 *
 * @param step the number of steps taken before it
 * @param tokens on which was trained before it
 * @param divergence of the original from the trained model, nats a token
 * @param nll of the trained model, nats a token
 */
public record TrainingMeasurement(int step, long tokens, double divergence, double nll) {}
