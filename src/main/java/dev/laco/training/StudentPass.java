package dev.laco.training;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.DecoderGradient;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerStack;
import dev.laco.transformer.LayerWeights;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The forward pass of a pruned model's trained layers over one batch of tokens, the loss against
 * the original's predictions, and the backward pass. Where there is no memory for the results of
 * all these layers, the backward pass runs the layers but the last forward once more.
 *
 * <p>{@code T} is the number of tokens of a batch, {@code d} the hidden size.
 */
@SuppressWarnings("exports")
public final class StudentPass implements AutoCloseable {
  private final Backend backend;
  private final CausalLm student;
  private final Layers layers;
  private final int first;
  private final DecoderLayer decoder;
  private final DecoderGradient decoderGradient;

  /** Number of layers, the last ones, whose results are held until the backward pass. */
  private final int held;

  /** The results of these layers. */
  private final List<DecoderGradient.Results> results = new ArrayList<>();

  private final TensorArena arena;

  /** The input of each trained layer, and the output of the last, {@code [T, d]} each. */
  private final List<Tensor> inputs = new ArrayList<>();

  private final Tensor hidden;
  private final Tensor gradient;

  /** The layers of a pruned model, and where the gradients by their weights are added. */
  public interface Layers extends LayerStack {
    /** The norm behind the last layer. */
    FinalNorm finalNorm();

    /** Where the gradients by the weights of a trained layer are to be added. */
    LayerWeights gradients(int index);

    /** By what the gradients by the weights are to be multiplied. */
    default double gradientScale() {
      return 1;
    }

    /** Is told that all of a batch's gradients by the weights of a trained layer were added. */
    default void differentiated(int index) {}
  }

  /**
   * The norm behind the last layer, with the sums of its gradients.
   *
   * @param bias null for zeros
   * @param biasGradient null where nobody asks for it
   */
  public record FinalNorm(
      Tensor weight, Tensor weightGradient, @Nullable Tensor bias, @Nullable Tensor biasGradient) {}

  /**
   * Allocates buffers.
   *
   * @param student whose head predicts
   * @param layers of the student
   * @param first the first layer that is trained
   * @param held number of layers, the last ones, for whose results there is memory
   * @param tokens of the largest batch
   */
  public StudentPass(CausalLm student, Layers layers, int first, int held, long tokens) {
    this.backend = student.backend();
    ModelConfig config = student.config();
    this.student = student;
    this.layers = layers;
    this.first = first;
    this.held = held;
    this.decoder = new DecoderLayer(backend, config);
    this.decoderGradient = new DecoderGradient(backend, config, tokens, held);
    this.arena = backend.arena();
    for (int i = first; i <= layers.depth(); i++) {
      inputs.add(arena.allocate(DType.F32, tokens, config.hiddenSize()));
    }
    hidden = arena.allocate(DType.F32, tokens, config.hiddenSize());
    gradient = arena.allocate(DType.F32, tokens, config.hiddenSize());
  }

  /**
   * Bytes of buffers.
   *
   * @param trained number of trained layers
   * @param held those for whose results there is memory
   */
  public static long bytes(ModelConfig config, long tokens, int trained, int held) {
    return DecoderGradient.bytes(config, tokens, held)
        + (trained + 3L) * tokens * config.hiddenSize() * Float.BYTES;
  }

  /** Where the pass finds the hidden states in front of the first trained layer, {@code [T, d]}. */
  public Tensor input(long tokens) {
    return input(first, tokens);
  }

  /**
   * Runs the trained layers on what {@link #input} holds.
   *
   * @return the last hidden states, after the final norm, {@code [T, d]}; valid until the next call
   */
  Tensor forward(TokenBatch batch) {
    long tokens = batch.sequences().size();
    results.clear();
    for (int index = first; index < layers.depth(); index++) {
      DecoderGradient.Results passed = forward(index, batch, input(index + 1, tokens));
      if (isHeld(index)) {
        results.add(passed);
      }
    }
    FinalNorm norm = layers.finalNorm();
    Tensor out = hidden.slice(0, tokens);
    decoder.normalise(norm.weight(), norm.bias(), input(layers.depth(), tokens), out);
    return out;
  }

  private boolean isHeld(int index) {
    return index >= layers.depth() - held;
  }

  /** Runs a trained layer; what it leaves is there until a layer that is not held runs. */
  private DecoderGradient.Results forward(int index, TokenBatch batch, @Nullable Tensor output) {
    long tokens = batch.sequences().size();
    return decoderGradient.forward(
        Math.max(0, index - (layers.depth() - held)),
        layers.layer(index, tokens),
        layers.attention(index),
        input(index, tokens),
        batch,
        output);
  }

  private Tensor input(int index, long tokens) {
    return inputs.get(index - first).slice(0, tokens);
  }

  /**
   * Runs the trained layers on what {@link #input} holds.
   *
   * @param reference the original's last hidden states, after the final norm, {@code [T, d]}
   * @param labelShare of the loss, as of {@link LabelShare}
   * @return the sum of the losses of all tokens, nats
   */
  public double loss(TokenBatch batch, Tensor reference, double labelShare) {
    return loss(batch, reference, labelShare, 0);
  }

  private double loss(TokenBatch batch, Tensor reference, double labelShare, double scale) {
    int tokens = batch.sequences().size();
    double[] losses = new double[tokens];
    TrainingOps training = backend.training();
    training.distillationLoss(
        forward(batch),
        reference,
        student.head(),
        batch,
        labelShare,
        scale,
        losses,
        gradient.slice(0, tokens));
    student.release();
    double sum = 0;
    for (double loss : losses) {
      sum += loss;
    }
    return sum;
  }

  /**
   * Runs the trained layers on what {@link #input} holds, and adds the gradients of the loss.
   *
   * @param reference the original's last hidden states, after the final norm, {@code [T, d]}
   * @param labelShare of the loss, as of {@link LabelShare}
   * @param scale factor on the gradients
   * @return the sum of the losses of all tokens, nats
   */
  public double train(TokenBatch batch, Tensor reference, double labelShare, double scale) {
    int tokens = batch.sequences().size();
    double sum = loss(batch, reference, labelShare, scale * layers.gradientScale());
    Tensor by = gradient.slice(0, tokens);
    FinalNorm norm = layers.finalNorm();
    decoderGradient.finalNorm(
        input(layers.depth(), tokens),
        norm.weight(),
        by,
        norm.weightGradient(),
        norm.biasGradient());
    for (int index = layers.depth() - 1; index >= first; index--) {
      DecoderGradient.Results passed =
          isHeld(index) ? results.removeLast() : forward(index, batch, null);
      decoderGradient.backward(
          passed, layers.layer(index, tokens), by, null, layers.gradients(index));
      layers.differentiated(index);
    }
    return sum;
  }

  @Override
  public void close() {
    arena.close();
    decoderGradient.close();
  }
}
