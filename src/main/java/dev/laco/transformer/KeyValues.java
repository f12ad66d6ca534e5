package dev.laco.transformer;

import dev.laco.backend.ForwardOps;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;

/**
 * Keys and values of one layer, {@code [tokens, keyValueHeads * headDim]} each and all of one
 * dtype, which is f32 or that to which attention would round them.
 *
 * @param newKeys memory for the keys of the batch's tokens; {@code newValues} likewise for values
 * @param keys all keys that attention sees, those of earlier tokens included, in the order of
 *     {@link PackedSequences#keyOffsets()}; {@code values} likewise
 * @param inPlace whether the new keys and values are where attention sees them
 */
record KeyValues(Tensor newKeys, Tensor newValues, Tensor keys, Tensor values, boolean inPlace) {
  /** Memory for the keys and values of whole sequences, without earlier tokens. */
  static KeyValues of(Workspace.Buffers buffers, DType type) {
    Tensor keys = buffers.keys(type);
    Tensor values = buffers.values(type);
    return new KeyValues(keys, values, keys, values, true);
  }

  /**
   * Copies the new keys and values to the places where attention sees them, if they are not there
   * already.
   */
  void keep(ForwardOps backend, TokenBatch batch) {
    if (!inPlace) {
      backend.appendKeyValues(newKeys, newValues, batch, keys, values);
    }
  }
}
