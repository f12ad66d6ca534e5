package dev.laco.transformer;

import dev.laco.backend.Tensor;

/**
 * Keys and values of one layer, {@code [tokens, keyValueHeads * headDim]} each.
 *
 * @param newKeys memory for the keys of the batch's tokens; {@code newValues} likewise for values
 * @param keys all keys that attention sees, those of earlier tokens included; {@code values}
 *     likewise
 */
record KeyValues(Tensor newKeys, Tensor newValues, Tensor keys, Tensor values) {
  /** Memory for the keys and values of whole sequences, without earlier tokens. */
  static KeyValues of(Workspace.Buffers buffers) {
    return new KeyValues(buffers.key, buffers.value, buffers.key, buffers.value);
  }
}
