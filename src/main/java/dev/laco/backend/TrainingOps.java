package dev.laco.backend;

import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.NormSpec;
import dev.laco.model.RotaryPairs;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What training asks of a backend: the backward ops of {@link ForwardOps}, the gradient of a loss
 * by the last hidden states, and the optimizer. The gradient of a tensor is the derivative of the
 * loss by each of its elements, a tensor of the same shape in f32. Gradients of weights are sums
 * over tokens and batches: an op adds to them. The gradient of a matrix is a {@link
 * SolvingOps#crossProduct}. What {@link Backend} says of all ops holds here, too.
 */
public interface TrainingOps {
  /**
   * The most bytes that these ops allocate for themselves, in addition to {@link
   * Device#scratchBytes}.
   *
   * @param tokens of the largest batch
   * @param vocabulary rows of the head of {@link #distillationLoss}; 0 where that is not called
   */
  long scratchBytes(long tokens, long vocabulary);

  /**
   * The dtype to which {@link #linearGradient} rounds its gradient before it multiplies: f32 or
   * bf16. A gradient of this dtype gives the same bits as one of f32.
   *
   * @param weight what is multiplied by
   */
  DType gradientType(Tensor weight);

  /**
   * The gradient by the input of {@link ForwardOps#linear}: {@code out = gradient weight}, or
   * {@code out += gradient weight}. Products are in {@link Device#productType}.
   *
   * @param gradient {@code [R, o]}: by the output, f32 or of the {@link #gradientType}
   * @param weight {@code [o, i]}
   * @param add whether the product is added to what {@code out} holds
   * @param out {@code [R, i]}
   */
  void linearGradient(Tensor gradient, Tensor weight, boolean add, Tensor out);

  /**
   * Sums of the columns, the gradient of a bias: {@code out_c += sum_r x_rc}.
   *
   * @param x {@code [R, n]}
   * @param out {@code [1, n]}
   */
  void addColumns(Tensor x, Tensor out);

  /**
   * The gradients of {@link ForwardOps#rmsNorm}. With {@code n = x / sqrt(mean(x^2) + eps)} and
   * {@code g = gradient * (offset + weight)}, the gradient by {@code x} is {@code (g - n mean(g n))
   * / sqrt(mean(x^2) + eps)}, and that by the weight is {@code sum_r gradient n}.
   *
   * @param x {@code [R, d]}
   * @param weight {@code [1, d]}
   * @param gradient {@code [R, d]}: by the output of the norm
   * @param weightGradient {@code [1, d]}, f32, added to
   * @param out {@code [R, d]}: by {@code x}; may be {@code gradient}
   */
  void rmsNormGradient(
      Tensor x, Tensor weight, NormSpec norm, Tensor gradient, Tensor weightGradient, Tensor out);

  /**
   * The gradients of {@link ForwardOps#layerNorm}. With the normalised row {@code n} and {@code g =
   * gradient * (offset + weight)}, the gradient by {@code x} is {@code (g - mean(g) - n mean(g n))
   * / sqrt(variance + eps)}.
   *
   * @param x {@code [R, d]}
   * @param weight {@code [m, d]}, {@code m} divides {@code R}
   * @param gradient {@code [R, d]}: by the output of the norm
   * @param weightGradient {@code [m, d]}, f32, added to
   * @param biasGradient {@code [m, d]}, f32, added to; null for a norm without bias
   * @param out {@code [R, d]}: by {@code x}; may be {@code gradient}
   */
  void layerNormGradient(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      Tensor gradient,
      Tensor weightGradient,
      @Nullable Tensor biasGradient,
      Tensor out);

  /**
   * The gradient of {@link ForwardOps#rope}, in place: rotates by the negative angles.
   *
   * @param gradient {@code [T, heads * headDim]}: by the rotated heads, becomes that by the heads
   *     before the rotation
   */
  void ropeGradient(Tensor gradient, RotaryPairs layout, int headDim, int table, TokenBatch batch);

  /**
   * {@link ForwardOps#attention} over whole sequences, which also writes what {@link
   * #attentionGradient} needs.
   *
   * @param logSums {@code [T, numHeads]}: for each query the logarithm of the sum of the
   *     exponentials of its scores, its sink included
   */
  void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums);

  /**
   * The gradients of {@link ForwardOps#attention} over whole sequences, but for that by the sinks
   * (Dao 2023, "FlashAttention-2", algorithm 2). No backend adds in an order that depends on time:
   * results are the same in every run.
   *
   * @param query {@code [T, numHeads * headDim]}
   * @param key {@code [T, numKeyValueHeads * headDim]}
   * @param value as {@code key}
   * @param out {@code [T, numHeads * headDim]}: what {@link #attention} gave
   * @param logSums {@code [T, numHeads]} likewise
   * @param gradient {@code [T, numHeads * headDim]}: by {@code out}
   * @param queryGradient as {@code query}
   * @param keyGradient as {@code key}
   * @param valueGradient as {@code value}
   */
  void attentionGradient(
      Tensor query,
      Tensor key,
      Tensor value,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums,
      Tensor gradient,
      Tensor queryGradient,
      Tensor keyGradient,
      Tensor valueGradient);

  /**
   * The gradients of {@link ForwardOps#causalConvolution} over whole sequences.
   *
   * @param x {@code [T, n]}
   * @param weight {@code [n, k]}, f32
   * @param gradient {@code [T, n]}: by the output
   * @param weightGradient {@code [n, k]}, added to; null for none
   * @param out {@code [T, n]}: by {@code x}, other memory
   */
  void causalConvolutionGradient(
      Tensor x,
      Tensor weight,
      TokenBatch batch,
      Tensor gradient,
      @Nullable Tensor weightGradient,
      Tensor out);

  /**
   * {@link ForwardOps#gatedDelta} over whole sequences, which also writes what {@link
   * #gatedDeltaGradient} needs.
   *
   * @param errors {@code [T, valueHeads * value]}: {@code e} of each head
   */
  void gatedDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor errors);

  /**
   * The gradients of {@link ForwardOps#gatedDelta} over whole sequences. Results are the same in
   * every run. With {@code R} the gradient by a head's state behind token {@code t}, from the last
   * token to the first: {@code R := R + q o^T} with the gradient {@code o} by the output; the
   * gradient by {@code v} is {@code v' = b R^T k}, that by {@code k} as it is written {@code b R
   * e}; {@code R := a (R - k v'^T)}. With the states {@code S} from the first token to the last:
   * the gradient by {@code q} is {@code S o}, that by {@code k} as it is read {@code -S' v'}, with
   * {@code S'} before the write of the token.
   *
   * @param heads as that op has it, with {@code decay}, {@code rate}, {@code logDecay} and {@code
   *     decayBias}
   * @param errors {@code [T, valueHeads * value]}: what {@link #gatedDelta} gave
   * @param gradient {@code [T, valueHeads * value]}: by the output
   * @param headsGradient as {@code heads}
   * @param decayGradient {@code [T, valueHeads]}: by {@code decay}; the sum of its rows is that by
   *     {@code decayBias}
   * @param rateGradient {@code [T, valueHeads]}: by {@code rate}
   * @param logDecayGradient {@code [T, valueHeads]}, whose sum of rows is that by {@code logDecay}
   */
  void gatedDeltaGradient(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      Tensor errors,
      Tensor gradient,
      Tensor headsGradient,
      Tensor decayGradient,
      Tensor rateGradient,
      Tensor logDecayGradient);

  /**
   * The gradients of {@link ForwardOps#gatedActivation}, in place: {@code up := gradient *
   * activation(gate)} and {@code gate := gradient * up * activation'(gate)}.
   *
   * @param gate {@code [R, k]}
   * @param up {@code [R, k]}; null for ones, which get no gradient
   * @param gradient {@code [R, k]}: by the output
   */
  void gatedGradients(Activation activation, Tensor gate, @Nullable Tensor up, Tensor gradient);

  /**
   * The gradients of {@link ForwardOps#clampedGate}, in place. With {@code s = 1 / (1 + exp(-slope
   * g))} of the limited gate {@code g} and the limited up {@code u}, the gradient by the gate is
   * {@code gradient (u + 1) s (1 + slope g (1 - s))}, and that by up {@code gradient g s}; it is 0
   * by what was beyond its limit.
   *
   * @param gateUp {@code [R, 2 k]}: gate and up of each channel side by side; becomes the gradients
   *     by them
   * @param gradient {@code [R, k]}: by the output
   */
  void clampedGateGradients(Tensor gateUp, ClampedGate gate, Tensor gradient);

  /**
   * The dot product of each row of two matrices: {@code out_r = sum_c a_rc b_rc}.
   *
   * @param a {@code [R, n]}
   * @param b {@code [R, n]}
   * @param out {@code [R, 1]}
   */
  void rowProducts(Tensor a, Tensor b, Tensor out);

  /**
   * The loss of each row of last hidden states against those of a reference, and its gradient. With
   * the {@link ScoringOps#logits} {@code r} of {@code reference} and {@code h} of {@code hidden},
   * the loss of a row is {@code (1 - labelShare) KL(softmax(r) || softmax(h)) - labelShare log
   * softmax(h)[next token]}; the second part is missing in the last row of a sequence. The op never
   * holds the logits of all tokens at once.
   *
   * @param hidden {@code [T, d]}
   * @param reference {@code [T, d]}
   * @param labelShare 0 for the divergence alone, 1 for the language model's loss alone
   * @param scale factor on the gradient, not on the losses
   * @param losses {@code [T]}, nats
   * @param gradient {@code [T, d]}: {@code scale} times the derivative of the sum of all losses by
   *     {@code hidden}
   */
  void distillationLoss(
      Tensor hidden,
      Tensor reference,
      Head head,
      TokenBatch batch,
      double labelShare,
      double scale,
      double[] losses,
      Tensor gradient);

  /** For each of several f32 tensors the sum of the squares of all its elements. */
  double[] sumsOfSquares(List<Tensor> tensors);

  /**
   * What steps of AdamW add to roots of running squares, in proportion to the sizes of whole
   * gradients: {@link Damping} has the numbers. The host does not wait.
   *
   * @param gradients f32
   * @param running {@code [gradients, 2]}: of each gradient the 8 bytes of an f64, the running mean
   *     of its mean squares; zeros before the first step
   * @param out {@code [gradients, 1]}
   */
  void dampings(Damping step, List<Tensor> gradients, Tensor running, Tensor out);

  /**
   * One step of AdamW (Loshchilov and Hutter 2019, algorithm 2) in f32 on each of several tensors,
   * and the weights that it gives, rounded to the nearest value of their dtype. Gradients become 0,
   * ready for the next sums.
   */
  void adamW(List<Update> updates);

  /**
   * One step of {@link #adamW}, with running means that have 8 bits an element between steps. The
   * step itself is computed in f32, with the running means of this step before they are rounded.
   */
  void adamW8Bit(List<Update8Bit> updates);

  /**
   * A tensor that a step of {@link #adamW} moves.
   *
   * @param damping {@code [1, 1]}, taken in place of {@link AdamW#epsilon}; null for that. Where it
   *     is infinite or no number, as that of a damaged gradient is, the gradient becomes 0 and
   *     nothing else changes
   * @param gradient {@code [m, n]}
   * @param mean {@code [m, n]}: running mean of gradients
   * @param square {@code [m, n]}: running mean of their squares
   * @param master {@code [m, n]}: the weight in f32; null for none: {@code weight} is moved in its
   *     place, and rounded by {@link StochasticRounding} with the {@link AdamW#key}
   * @param weight {@code [m, n]} of any dtype: {@code master}, rounded
   */
  record Update(
      AdamW step,
      @Nullable Tensor damping,
      Tensor gradient,
      Tensor mean,
      Tensor square,
      @Nullable Tensor master,
      Tensor weight) {}

  /**
   * A tensor that a step of {@link #adamW8Bit} moves.
   *
   * @param gradient {@code [m, n]}
   * @param moments {@code [ceil(m n / 256), 130]}, whose elements are no numbers: {@link
   *     EightBitMoments}; zeros before the first step
   * @param master {@code [m, n]}: the weight in f32; null for none
   * @param weight {@code [m, n]} of any dtype
   */
  record Update8Bit(
      AdamW step, Tensor gradient, Tensor moments, @Nullable Tensor master, Tensor weight) {}

  /**
   * The numbers of {@link #dampings} for one step: {@code running = beta running + (1 - beta)
   * mean(gradient^2)}, {@code damping = factor sqrt(running / (1 - beta^number)) + least}.
   *
   * @param number of the step, from 1
   */
  record Damping(int number, double beta, double factor, double least) {
    public Damping {
      if (number < 1 || !(beta >= 0 && beta < 1) || !(factor >= 0) || !(least >= 0)) {
        throw new IllegalArgumentException(
            "damping of step " + number + ": " + beta + ", " + factor + ", " + least);
      }
    }

    /** The running mean after the step. */
    public double running(double before, double meanSquare) {
      return beta * before + (1 - beta) * meanSquare;
    }

    /** {@code 1 - beta^number}, by which the running mean is divided. */
    public double correction() {
      return 1 - Math.pow(beta, number);
    }

    /** The damping, by the running mean after the step. */
    public double damping(double running) {
      return factor * Math.sqrt(running / correction()) + least;
    }
  }

  /**
   * The numbers of one step of AdamW. With {@code g = gradientScale * gradient}: {@code mean =
   * beta1 mean + (1 - beta1) g}, {@code square = beta2 square + (1 - beta2) g^2}, {@code master =
   * (1 - rate * decay) master - rate * (mean / (1 - beta1^number)) / (sqrt(square / (1 -
   * beta2^number)) + epsilon)}.
   *
   * @param number of the step, from 1
   * @param rate learning rate
   * @param gradientScale below 1 where the norm of all gradients is clipped
   * @param key of the random numbers by which a weight without a master is rounded
   */
  record AdamW(
      int number,
      double rate,
      double beta1,
      double beta2,
      double epsilon,
      double decay,
      double gradientScale,
      long key) {
    public AdamW {
      if (number < 1
          || !(rate >= 0)
          || !(beta1 >= 0 && beta1 < 1)
          || !(beta2 >= 0 && beta2 < 1)
          || !(epsilon > 0)
          || !(decay >= 0)) {
        throw new IllegalArgumentException(
            "AdamW step "
                + number
                + " with rate "
                + rate
                + ", betas "
                + beta1
                + " and "
                + beta2
                + ", epsilon "
                + epsilon
                + ", decay "
                + decay);
      }
    }

    /** {@code rate / (1 - beta1^number)}: the rate for the running mean as it is. */
    public double stepSize() {
      return rate / (1 - Math.pow(beta1, number));
    }

    /** {@code sqrt(1 - beta2^number)}, by which the root of the running square is divided. */
    public double squareCorrection() {
      return Math.sqrt(1 - Math.pow(beta2, number));
    }
  }
}
