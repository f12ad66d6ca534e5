package dev.laco.transformer;

import dev.laco.backend.Tensor;

/**
 * Keys and values of one layer.
 *
 * @param newKeys where those of the tokens at hand go, {@code newValues} likewise
 * @param keys those that are seen, past ones included, {@code values} likewise
 */
record KeyValues(Tensor newKeys, Tensor newValues, Tensor keys, Tensor values) {
  /** Those of whole sequences, without a past. */
  static KeyValues of(Workspace.Buffers buffers) {
    return new KeyValues(buffers.key, buffers.value, buffers.key, buffers.value);
  }
}
