package dev.laco.backend;

import dev.laco.model.Activation;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The ops of a forward pass and of a merge, on one device. A backend belongs to the thread that
 * uses it. Ops check shapes before they touch memory and throw {@link IllegalArgumentException};
 * none allocates after its first call with a shape.
 *
 * <p>Activations ({@code x}, {@code out}, queries, keys, …) are f32. Weights have the checkpoint's
 * dtype. Unless said otherwise {@code out} must not overlap an input. {@code T} is the number of
 * tokens of a batch.
 */
public interface Backend extends AutoCloseable {
  /** What the device is, and how much of its memory is free now. */
  DeviceInfo info();

  Compute compute();

  /**
   * The type in which products with weights of a type are calculated: that type, to which
   * activations are rounded then, or f32, to which weights are widened.
   */
  DType productType(DType weights);

  /** The same for people, and why where there is a choice: {@code f32 products}. */
  default String describeProducts(DType weights) {
    return productType(weights).shortName() + " products";
  }

  /**
   * About how many operations products in a type do in a second, a multiplication and an addition
   * being two; 0 where the device does not multiply in it. Reckoned from what a GPU's driver says
   * of it; measured on a CPU, when a rate is first asked for. For estimates.
   */
  double operationsPerSecond(DType productType);

  /**
   * At most so many bytes of {@linkplain DeviceInfo.Memory the device's own memory} do ops take
   * beside tensors and what is allocated by now; 0 for a device without.
   *
   * @param buffers bytes of a forward pass
   */
  default long scratchBytes(long buffers) {
    return 0;
  }

  /** {@link #operationsPerSecond} of every type that the device multiplies in. */
  default Map<DType, Double> productRates() {
    Map<DType, Double> rates = new EnumMap<>(DType.class);
    for (DType type : DType.values()) {
      double rate = operationsPerSecond(type);
      if (rate > 0) {
        rates.put(type, rate);
      }
    }
    return rates;
  }

  /** Threads that work in this process on behalf of the backend may take. */
  default int hostThreads() {
    return Runtime.getRuntime().availableProcessors();
  }

  /**
   * A weight of rank 1 (one row) or 2, made usable on the device; on a CPU the bytes stay where
   * they are.
   */
  Tensor weight(HostTensor tensor);

  /**
   * Says that weights will not be asked for again soon: a backend gives up the room that they take
   * on its device; host memory is its owner's. Tensors that {@link #weight} made of them must not
   * be used any more; asking again is legal. Changes no result.
   */
  default void release(List<HostTensor> tensors) {}

  /** A new arena for buffers. */
  TensorArena arena();

  /**
   * Packed sequences for use by ops.
   *
   * @param cosine {@code [T * pairs]} cosines of the rotary angles
   * @param sine {@code [T * pairs]} sines
   */
  TokenBatch batch(PackedSequences sequences, float[] cosine, float[] sine);

  /**
   * {@code out[t] = table[token_t]}: {@code table [V, d]}, {@code out [T, d]}. Token ids must be
   * below V.
   */
  void embed(Tensor table, TokenBatch batch, Tensor out);

  /**
   * Root mean square norm of each row: {@code out = weight * x / sqrt(mean(x^2) + eps)} (Zhang and
   * Sennrich 2019). {@code x}, {@code out [R, d]}, {@code weight [1, d]}. In place is legal.
   */
  void rmsNorm(Tensor x, Tensor weight, double eps, Tensor out);

  /**
   * {@code x += y}, then {@code out = rmsNorm(x)}: a residual connection and the norm behind it.
   * All of one shape; {@code out} may be {@code y}.
   */
  default void addRmsNorm(Tensor x, Tensor y, Tensor weight, double eps, Tensor out) {
    OpChecks.add(x, y);
    OpChecks.rmsNorm(x, weight, out);
    add(x, y);
    rmsNorm(x, weight, eps, out);
  }

  /**
   * {@code out = x weight^T + bias}: {@code x [R, in]}, {@code weight [out, in]}, {@code bias [1,
   * out]}, {@code out [R, out]}.
   */
  void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out);

  /**
   * Rotates in place the first {@code 2 * pairs} elements of every head by the angles of its token:
   * element {@code i} with element {@code i + pairs} (the Hugging Face half layout). {@code x [T,
   * heads * headDim]}.
   */
  void rope(Tensor x, int headDim, TokenBatch batch);

  /**
   * {@link #rope}, for models with query and key norms behind the {@link #rmsNorm} of every head.
   *
   * @param weight {@code [1, headDim]}, null for models without
   */
  default void normRope(
      Tensor x, @Nullable Tensor weight, double eps, int headDim, TokenBatch batch) {
    OpChecks.rope(x, headDim, batch);
    if (weight != null) {
      Tensor heads = x.reshape(x.elements() / headDim, headDim);
      rmsNorm(heads, weight, eps, heads);
    }
    rope(x, headDim, batch);
  }

  /**
   * Causal attention within each sequence. {@code query}, {@code out [T, numHeads * headDim]};
   * {@code key}, {@code value [K, numKeyValueHeads * headDim]} with {@code K} the sum of past and
   * new tokens, laid out by {@link PackedSequences#keyOffsets()}. Query {@code i} of a sequence
   * with past {@code p} sees keys up to {@code p + i}.
   */
  void attention(
      Tensor query, Tensor key, Tensor value, AttentionSpec spec, TokenBatch batch, Tensor out);

  /**
   * {@code out = activation(gate) * up}, elementwise. {@code out} may be {@code gate} or {@code
   * up}.
   */
  void gatedActivation(Activation activation, Tensor gate, Tensor up, Tensor out);

  /**
   * The slopes of {@link #gatedActivation}, elementwise and in place: {@code up := up *
   * activation'(gate)}, the slope along the gate, and {@code gate := activation(gate)}, the slope
   * along up. All f32 of one shape, and not the same tensor. {@code activation'} is finite at every
   * gate but NaN: its limits, 0 and 1, at the infinities.
   */
  void gatedSlopes(Activation activation, Tensor gate, Tensor up);

  /** {@code x += y}, elementwise, f32. */
  void add(Tensor x, Tensor y);

  /** {@code out = x * y}, elementwise, f32; {@code out} may be {@code x} or {@code y}. */
  void multiply(Tensor x, Tensor y, Tensor out);

  /**
   * Batched layer merging: every tensor of the list as {@link TensorMix} says, accumulated in f64
   * in source order (product rounded, then sum rounded: no fused multiply-add) and rounded once to
   * the destination's dtype. The same bits on every backend. The tensors are made in any order:
   * none may be a source of another of the list.
   */
  void mix(List<TensorMix> tensors);

  /**
   * The tensors that {@link #mix} makes of the list, for the ops of one layer over {@code tokens}
   * rows; valid until the next call. A backend may mix a matrix only while it multiplies by it, and
   * then leaves {@link TensorMix#out} as it was.
   */
  default List<Tensor> mixed(List<TensorMix> tensors, long tokens) {
    mix(tensors);
    return tensors.stream().map(TensorMix::out).toList();
  }

  /**
   * One cosine per sequence, of each of K candidates with one reference: {@code reference [T, d]},
   * {@code candidates [K * T, d]}, one behind the other; the rows of a sequence are flattened into
   * one vector; {@code a.b / (max(|a|, 1e-8) max(|b|, 1e-8))}. Products f32 or wider, sums f64.
   *
   * @return {@code [K * S]}, the sequences of a candidate side by side
   */
  double[] cosine(Tensor reference, Tensor candidates, TokenBatch batch);

  /**
   * Natural log-probability that row {@code t} of {@code hidden [T, d]} gives to the next token of
   * its sequence under {@code softmax(hidden head^T)}, {@code head [V, d]}; {@code out[t]} is 0 at
   * the last token of a sequence. Never holds the logits of all tokens and the whole vocabulary at
   * once.
   *
   * @param out {@code [T]}
   */
  void logProbability(Tensor hidden, Tensor head, TokenBatch batch, double[] out);

  /**
   * Kullback-Leibler divergence of every row, the last of a sequence too, in nats: {@code out[t] =
   * KL(softmax(reference_t head^T) || softmax(hidden_t head^T))}; {@code hidden}, {@code reference
   * [T, d]}, {@code head [V, d]}. Never below 0. Never holds the logits of all tokens and the whole
   * vocabulary at once.
   *
   * @param out {@code [T]}
   */
  void klDivergence(Tensor hidden, Tensor reference, Tensor head, TokenBatch batch, double[] out);

  /**
   * {@code out += a^T b}: {@code a [R, m]}, {@code b [R, n]}, {@code out [m, n]}, all f32; {@code
   * a} and {@code b} may be the same. In {@link Compute#AUTO}, where the device is fast at it, both
   * are rounded to bf16, and sums are f32.
   */
  void crossProduct(Tensor a, Tensor b, Tensor out);

  /**
   * The reciprocal root mean square of each row: {@code out = 1 / sqrt(max(mean(x^2), floor))};
   * {@code x [R, d]}, {@code out [R, 1]}.
   */
  void inverseRms(Tensor x, double floor, Tensor out);

  /**
   * {@code out = scale * (a - b)} row by row: {@code a}, {@code b}, {@code out [R, d]}, {@code
   * scale [R, 1]}. {@code out} may be {@code a} or {@code b}.
   *
   * @param b null for zeros
   */
  void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out);

  /**
   * Sums of squares of the columns: {@code out += sum_r x_r^2}; {@code x [R, n]}, {@code out [1,
   * n]}.
   */
  void addSquares(Tensor x, Tensor out);

  /**
   * What solves linear systems of this backend's tensors.
   *
   * @throws dev.laco.ResourceException if nothing does: what is missing and what helps
   */
  default LinearSolver solver() {
    return new HostSolver(this, "OpenBLAS on the host");
  }

  /** {@code to = from}: same element count and dtype. */
  void copy(Tensor from, Tensor to);

  /** Reads an f32 tensor into {@code to}, of exactly its element count. */
  void download(Tensor from, float[] to);

  /** Writes an f32 tensor from {@code from}, of exactly its element count. */
  void upload(float[] from, Tensor to);

  /**
   * The dtype of scratch tensors that hold a mixed layer for scoring: f32 in parity mode, else the
   * source's.
   */
  default DType mixedDType(DType source) {
    return compute() == Compute.F32 ? DType.F32 : source;
  }

  @Override
  void close();
}
