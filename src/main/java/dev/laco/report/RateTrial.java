package dev.laco.report;

/**
 * A few steps of the optimizer at one learning rate, taken to find a rate.
 *
 * @param steps their number
 * @param rate the learning rate
 * @param loss of the training after the steps, on a part of the held-out text, nats a token
 */
public record RateTrial(int steps, double rate, double loss) {}
