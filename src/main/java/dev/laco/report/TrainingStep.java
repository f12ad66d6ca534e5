package dev.laco.report;

/**
 * A step of the optimizer.
 *
 * @param number of the step, from 1
 * @param of all steps
 * @param tokens on which was trained so far, those of this step included
 * @param loss mean of the step's tokens before the step, nats
 * @param gradientNorm the norm of all gradients before clipping
 */
public record TrainingStep(int number, int of, long tokens, double loss, double gradientNorm) {}
