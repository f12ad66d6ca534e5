package dev.laco.report;

/**
 * What a training is about to do.
 *
 * @param text names what is learnt from, for people
 * @param tokens on which the model is trained
 * @param steps of the optimizer
 * @param firstLayer the first layer that is trained, counted from 0
 * @param layers number of layers that are trained
 * @param parameters that are trained
 * @param rate the largest learning rate
 */
public record TrainingStart(
    String text,
    long tokens,
    int steps,
    int firstLayer,
    int layers,
    long parameters,
    double rate) {}
