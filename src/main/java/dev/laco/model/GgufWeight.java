package dev.laco.model;

import java.util.List;

/**
 * A tensor of a GGUF file, and the weights that it holds.
 *
 * @param name of the tensor in the file
 * @param weights names of the weights; several where {@code stacked}
 * @param shape of each weight
 * @param stacked whether the tensor has one more extent before those of the weights: experts of a
 *     mixture one behind the other
 * @param interleavedHeads the heads whose rows the file interleaves (see {@link
 *     Architecture.Builder#ggufRowsInterleaved}); 0 where the rows have the same order
 * @param added what the file adds to each value
 */
public record GgufWeight(
    String name,
    List<String> weights,
    List<Long> shape,
    boolean stacked,
    int interleavedHeads,
    double added) {
  public GgufWeight {
    weights = List.copyOf(weights);
    shape = List.copyOf(shape);
  }

  /** Whether the tensor is the router of a mixture, or of its shared expert. */
  public boolean router() {
    return name.contains(".ffn_gate_inp");
  }
}
