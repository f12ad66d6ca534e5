package dev.laco.model;

/**
 * The gate of feed-forward networks that limit their inputs, as those of gpt-oss do: {@code g (u +
 * 1) / (1 + exp(-slope g))} with the gate {@code g}, at most {@code limit}, and the up {@code u},
 * between {@code -limit} and {@code limit}.
 */
public record ClampedGate(double slope, double limit) {}
