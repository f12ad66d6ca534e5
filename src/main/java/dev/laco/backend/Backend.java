package dev.laco.backend;

import org.jspecify.annotations.Nullable;

/**
 * All ops on one device. Each interface that a backend implements has one kind of caller; a caller
 * takes the narrowest type that it needs:
 *
 * <ul>
 *   <li>{@link Device}: what the device is and how fast, for plans of memory and time
 *   <li>{@link DeviceMemory}: tensors and batches
 *   <li>{@link ForwardOps}: the forward pass of a model, and the mixing of layers
 *   <li>{@link ScoringOps}: similarity and divergence of models
 *   <li>{@link SolvingOps}: sums of a fit, and what solves its linear systems
 *   <li>{@link TrainingOps}, by {@link #training}: gradients, and the steps of an optimizer
 * </ul>
 *
 * <p>What holds for every op, unless its own comment says otherwise:
 *
 * <ul>
 *   <li>Activations ({@code x}, {@code out}, queries, keys, …) are f32. Weights ({@code weight},
 *       {@code bias}, {@code table}, {@code head}) have the dtype of the checkpoint.
 *   <li>{@code T} is the number of tokens of a batch, {@code S} the number of its sequences.
 *   <li>{@code out} must not overlap an input.
 *   <li>An op checks dtypes and shapes before it touches memory, and throws {@link
 *       IllegalArgumentException} if they do not fit.
 *   <li>Only the first call with a shape may allocate memory.
 *   <li>A backend belongs to the thread that opened it.
 * </ul>
 *
 * <p>The owner of a backend closes it, after the arenas and batches that it made.
 */
public interface Backend extends ForwardOps, ScoringOps, SolvingOps, AutoCloseable {
  /**
   * Why this backend cannot train, as the beginning of an error message: what is missing, and what
   * helps. Null if it can.
   */
  default @Nullable String missingForTraining() {
    return null;
  }

  /** The ops of training. Only to be called where {@link #missingForTraining} is null. */
  TrainingOps training();

  @Override
  void close();
}
