package dev.laco.backend;

import dev.laco.Compute;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The ops of a forward pass, and the mixing of the layers that a plan merges. Activations are f32.
 * What only matrix products read may be of 16 bits where an op says so: it is then rounded when it
 * is written, and not by every product that reads it.
 */
public interface ForwardOps extends DeviceMemory {
  /**
   * The dtype to which {@link #linear} rounds its input before it multiplies: f32, or that of the
   * weight. An input of this dtype gives the same bits as one of f32.
   *
   * @param weight what is multiplied by
   * @param rows of the input
   */
  default DType inputType(Tensor weight, long rows) {
    return productType(weight.dtype());
  }

  /**
   * Token embedding: {@code out[t] = scale * table[token_t]}.
   *
   * @param table {@code [V, d]}
   * @param batch its token ids are below {@code V}
   * @param out {@code [T, d]}
   */
  void embed(Tensor table, TokenBatch batch, double scale, Tensor out);

  /**
   * Root mean square norm of each row: {@code out = (offset + weight) * x / sqrt(mean(x^2) + eps)}.
   *
   * @param x {@code [R, d]}
   * @param weight {@code [1, d]}
   * @param out {@code [R, d]} of any dtype; may be {@code x}
   */
  void rmsNorm(Tensor x, Tensor weight, NormSpec norm, Tensor out);

  /**
   * A residual connection and the norm that follows it: {@code x += y}, then {@code out =
   * rmsNorm(x)}.
   *
   * @param x {@code [R, d]}
   * @param y {@code [R, d]}
   * @param weight {@code [1, d]}
   * @param out {@code [R, d]} of any dtype; may be {@code y}
   */
  default void addRmsNorm(Tensor x, Tensor y, Tensor weight, NormSpec norm, Tensor out) {
    OpChecks.add(x, y);
    OpChecks.rmsNorm(x, weight, out);
    add(x, y);
    rmsNorm(x, weight, norm, out);
  }

  /**
   * Layer norm of each row (Ba et al. 2016): {@code out = (offset + weight) * (x - mean(x)) /
   * sqrt(mean((x - mean(x))^2) + eps) + bias}. Row {@code r} has row {@code r mod g} of weight and
   * bias.
   *
   * @param x {@code [R, d]}
   * @param weight {@code [g, d]}, {@code g} divides {@code R}
   * @param bias {@code [g, d]}; null for zeros
   * @param out {@code [R, d]}; may be {@code x}; of any dtype, but f32 where the bias has another
   *     dtype than the weight
   */
  void layerNorm(Tensor x, Tensor weight, @Nullable Tensor bias, NormSpec norm, Tensor out);

  /**
   * As {@link #addRmsNorm}, with {@link #layerNorm}.
   *
   * @param weight {@code [1, d]}
   * @param bias {@code [1, d]}; null for zeros
   */
  default void addLayerNorm(
      Tensor x, Tensor y, Tensor weight, @Nullable Tensor bias, NormSpec norm, Tensor out) {
    OpChecks.addLayerNorm(x, y, weight, bias, out);
    add(x, y);
    layerNorm(x, weight, bias, norm, out);
  }

  /**
   * A linear layer: {@code out = x weight^T + bias}, multiplied in {@link #productType}.
   *
   * @param x {@code [R, in]}, f32 or of the {@link #inputType}
   * @param weight {@code [out, in]}; may be one that {@link #mixed} returned
   * @param bias {@code [1, out]}; null for zeros
   * @param out {@code [R, out]} of any dtype
   */
  void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out);

  /**
   * A linear layer whose matrix is stored the other way round: {@code out = x weight + bias},
   * multiplied in {@link #productType}.
   *
   * @param x {@code [R, in]}
   * @param weight {@code [in, out]}
   * @param bias {@code [1, out]}; null for zeros
   * @param out {@code [R, out]}
   */
  void linearTransposed(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out);

  /**
   * Rotary position embedding: rotates pair {@code i} of the elements of every head by angle {@code
   * i} of the token, for {@code i < pairs}. Elements from {@code 2 * pairs} on stay as they are.
   *
   * @param x {@code [T, heads * headDim]}
   * @param layout which elements are a pair
   * @param headDim at least {@code 2 * pairs}
   * @param table which of the batch's tables has the angles
   * @param out {@code [T, heads * headDim]} of any dtype; may be {@code x}
   */
  void rope(Tensor x, RotaryPairs layout, int headDim, int table, TokenBatch batch, Tensor out);

  /**
   * The {@link #rmsNorm} of every head, for models that normalise queries and keys, and then {@link
   * #rope} of {@link RotaryPairs#HALVES}.
   *
   * @param x {@code [T, heads * headDim]}; may be overwritten where {@code out} has 16 bits
   * @param weight {@code [1, headDim]}, the same for every head
   * @param table which of the batch's tables has the angles
   * @param out {@code [T, heads * headDim]} of any dtype; may be {@code x}
   */
  default void normRope(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      int headDim,
      int table,
      TokenBatch batch,
      Tensor out) {
    OpChecks.rope(x, headDim, table, batch, out);
    Tensor normed = out.dtype() == DType.F32 ? out : x;
    long heads = x.elements() / headDim;
    rmsNorm(x.reshape(heads, headDim), weight, norm, normed.reshape(heads, headDim));
    rope(normed, RotaryPairs.HALVES, headDim, table, batch, out);
  }

  /**
   * Puts the keys and values of a batch behind those of earlier tokens: copies row {@code t} of the
   * new ones, bit for bit, to row {@link PackedSequences#keyRows() keyRows[t]} of all. The tensors
   * are of one dtype.
   *
   * @param newKey {@code [T, d]}, other memory than {@code key}; {@code newValue} likewise
   * @param key {@code [K, d]}, as {@link #attention} takes it
   * @param value as {@code key}
   */
  default void appendKeyValues(
      Tensor newKey, Tensor newValue, TokenBatch batch, Tensor key, Tensor value) {
    OpChecks.appendKeyValues(newKey, newValue, batch, key, value);
    PackedSequences sequences = batch.sequences();
    for (int s = 0; s < sequences.sequences(); s++) {
      int from = sequences.offsets()[s];
      int to = sequences.offsets()[s + 1];
      int row = sequences.firstKeyRow(s);
      copy(newKey.slice(from, to), key.slice(row, row + to - from));
      copy(newValue.slice(from, to), value.slice(row, row + to - from));
    }
  }

  /**
   * Causal attention within each sequence. Query {@code i} of a sequence that has {@code p} past
   * tokens sees keys up to {@code p + i}, and of these the latest of its window.
   *
   * @param query {@code [T, numHeads * headDim]}
   * @param key {@code [K, numKeyValueHeads * headDim]}, f32 or of the {@link #keyValueType}: of
   *     each sequence its past and new tokens at the rows that {@link PackedSequences#keyOffsets()}
   *     says, of which {@code K} is the last one
   * @param value as {@code key}
   * @param sinks {@code [1, numHeads]}: for each head one more score in the softmax of each query,
   *     which has no value (Xiao et al. 2023, "Efficient Streaming Language Models with Attention
   *     Sinks"), so that the weights of the values sum to less than 1; null for none
   * @param out {@code [T, numHeads * headDim]}
   */
  void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out);

  /**
   * Causal convolution of each column within each sequence: {@code out_tc = sum_i weight_ci
   * x_(t-k+1+i)c} for {@code i < k}. Rows in front of a sequence's first token are those of its
   * earlier tokens, and 0 where it has none.
   *
   * @param x {@code [T, n]}
   * @param weight {@code [n, k]}, f32
   * @param states {@code [slots, (k - 1) n]}: the last {@code k - 1} rows of {@code x} of the
   *     earlier tokens of each sequence, the oldest first; becomes those behind the batch. Null
   *     where the batch has whole sequences and nobody asks for the states
   * @param out {@code [T, n]}, other memory
   */
  void causalConvolution(
      Tensor x, Tensor weight, TokenBatch batch, @Nullable SequenceStates states, Tensor out);

  /**
   * Linear attention by the gated delta rule within each sequence (Yang et al. 2025, arXiv
   * 2412.06464, eq. 10). Each value head has a state {@code S [key, value]}, which is 0 in front of
   * a sequence without earlier tokens. With its query {@code q}, key {@code k} and value {@code v}
   * of token {@code t}, the share {@code a = exp(-exp(logDecay) softplus(decay_t + decayBias))} of
   * the state that is kept, and the rate {@code b = 1 / (1 + exp(-rate_t))}: {@code S := a S};
   * {@code e = v - S^T k}; {@code S := S + b k e^T}; {@code out_t = S^T q}. Queries and keys are
   * divided by {@code sqrt(sum of their squares + }{@link DeltaSpec#EPS}{@code )} before, and
   * queries by {@code sqrt(key)}, too.
   *
   * @param heads {@code [T, (2 keyHeads) key + valueHeads value]}: the queries of all heads, then
   *     their keys, then their values
   * @param decay {@code [T, valueHeads]}
   * @param rate {@code [T, valueHeads]}
   * @param logDecay {@code [1, valueHeads]}, f32
   * @param decayBias {@code [1, valueHeads]}, f32
   * @param states {@code [slots, valueHeads * key * value]}: {@code S} of each head, row by row,
   *     behind the earlier tokens of each sequence; becomes that behind the batch. Null where the
   *     batch has whole sequences and nobody asks for the states
   * @param out {@code [T, valueHeads * value]}, other memory
   */
  void gatedDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      @Nullable SequenceStates states,
      Tensor out);

  /**
   * {@code out = activation(gate) * up}, element by element.
   *
   * @param gate {@code [R, k]}
   * @param up {@code [R, k]}; null for ones
   * @param out {@code [R, k]} of any dtype; may be {@code gate} or {@code up}
   */
  void gatedActivation(Activation activation, Tensor gate, @Nullable Tensor up, Tensor out);

  /**
   * The gate of an expert of gpt-oss, of which each channel has a gate and an up side by side:
   * {@code out_i = g (u + 1) / (1 + exp(-slope g))} with {@code g = min(gateUp_2i, limit)} and
   * {@code u = min(max(gateUp_2i+1, -limit), limit)}. NaN stays NaN.
   *
   * @param gateUp {@code [R, 2 k]}
   * @param out {@code [R, k]}, other memory
   */
  void clampedGate(Tensor gateUp, ClampedGate gate, Tensor out);

  /**
   * Chooses experts for each row {@code t} of a router's logits. The score {@code s_e} of an expert
   * is {@code exp(logits_te) / sum_j exp(logits_tj)} over all experts j, or {@code 1 / (1 +
   * exp(-logits_te))}. Chosen are the experts of the largest logits or, with a correction, of the
   * largest {@code s_e + correction_e}: the largest first, the lower index first among equals; NaN
   * is chosen last, as infinity below zero is. Where the router has groups, the experts are chosen
   * among those of a few groups: of the groups with the largest sums of the {@code best} largest
   * scores, corrections included, in the same order. The share of an expert is {@code factor *
   * s_e}, divided by the sum of the scores of the row's chosen experts where shares are normalised,
   * which counts as no less than 1e-20, but in a softmax without a correction, and to which a
   * number of the router's is added.
   *
   * @param logits {@code [T, E]}
   * @param correction {@code [1, E]}, which changes the choice and not the shares (DeepSeek-V3,
   *     2024, eq. 16); null for none
   * @param router how logits become shares
   * @param experts {@code [T * k]}, {@code k <= E}, or at most as many as a token's groups have:
   *     the experts of each row
   * @param shares likewise
   */
  void route(
      Tensor logits, @Nullable Tensor correction, RouterSpec router, int[] experts, float[] shares);

  /**
   * Copies rows: {@code out_i = x_rows[i]}.
   *
   * @param x {@code [R, d]}
   * @param rows {@code [n]}, each below {@code R}
   * @param out {@code [n, d]} of any dtype
   */
  void gather(Tensor x, int[] rows, Tensor out);

  /**
   * Copies columns of each row of {@code x} to {@code n} rows of {@code out} that follow each
   * other: {@code out_r,(to + c) = x_(r / n),(from + c)} for {@code c < count}. The columns of
   * {@code out} behind these become 0, those before them stay.
   *
   * @param x {@code [R, d]}
   * @param from the first column that is copied; {@code from + count <= d}
   * @param out {@code [n R, e]} of any dtype, other memory
   * @param to the column of {@code out} that gets the first one; {@code to + count <= e}
   */
  void copyColumns(Tensor x, int from, int count, Tensor out, int to);

  /**
   * Adds to rows: {@code x_rows[i] += factors[i] * y_i}.
   *
   * @param x {@code [R, d]}
   * @param rows {@code [n]}, ascending, each once and below {@code R}
   * @param factors {@code [n]}
   * @param y {@code [n, d]}
   */
  void addRows(Tensor x, int[] rows, float[] factors, Tensor y);

  /** {@code x += y}, element by element, for tensors of one shape. */
  void add(Tensor x, Tensor y);

  /**
   * Merges layers: makes each tensor of the list as its {@link TensorMix} says. Sums are f64, in
   * the order of the sources; each product is rounded and then each sum (no fused multiply-add),
   * and the sum of all is rounded once to the destination's dtype. Every backend gives the same
   * bits.
   *
   * @param tensors made in any order: no destination is a source of another tensor of the list
   */
  void mix(List<TensorMix> tensors);

  /**
   * The tensors that {@link #mix} makes of the list, for the ops of one layer; valid until the next
   * call. A backend may mix a matrix only while {@link #linear} multiplies by it. It then returns a
   * tensor without memory, which {@link #linear} alone takes, and leaves {@link TensorMix#out} as
   * it was.
   *
   * @param tokens rows that the layer is run on, by which a backend decides what to store
   */
  default List<Tensor> mixed(List<TensorMix> tensors, long tokens) {
    mix(tensors);
    return tensors.stream().map(TensorMix::out).toList();
  }

  /**
   * The dtype in which a mixed layer is held while candidates are scored: f32 in {@link
   * Compute#F32}, else that of the layer's sources.
   */
  default DType mixedDType(DType source) {
    return compute() == Compute.F32 ? DType.F32 : source;
  }
}
