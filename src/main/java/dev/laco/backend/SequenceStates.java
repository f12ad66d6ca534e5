package dev.laco.backend;

import dev.laco.model.PackedSequences;

/**
 * What an op keeps of the earlier tokens of several sequences. A sequence without earlier tokens
 * starts from zeros, whatever its row holds.
 *
 * @param rows {@code [slots, n]}, f32: one row for each sequence that there may be
 * @param capacity rows of keys for which a slot has room: the row of sequence {@code s} of a batch
 *     is {@link PackedSequences#keyOffsets() keyOffsets[s]} / {@code capacity}
 */
public record SequenceStates(Tensor rows, int capacity) {}
