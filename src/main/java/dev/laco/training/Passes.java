package dev.laco.training;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.DecoderGradient;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The forward passes of the original and of the trained model, and the backward pass of the latter,
 * over one batch of tokens. The layers in front of the first trained one are run once for both
 * models. Where there is no memory for the results of all trained layers, the backward pass runs
 * the layers but the last forward once more.
 */
final class Passes implements AutoCloseable {
  private final Backend backend;
  private final ModelConfig config;
  private final CausalLm teacher;
  private final CausalLm student;
  private final TrainedLayers layers;
  private final int first;
  private final DecoderLayer decoder;
  private final DecoderGradient decoderGradient;

  /** Number of layers, the last ones, whose results are held until the backward pass. */
  private final int held;

  /** The results of these layers. */
  private final List<DecoderGradient.Results> results = new ArrayList<>();

  private final Workspace work;
  private final TensorArena arena;

  /** The input of each trained layer, and the output of the last, {@code [T, d]} each. */
  private final List<Tensor> inputs = new ArrayList<>();

  private final Tensor reference;
  private final Tensor hidden;
  private final Tensor gradient;

  Passes(CausalLm teacher, CausalLm student, TrainedLayers layers, int first, long tokens) {
    this.backend = teacher.backend();
    this.config = teacher.config();
    this.teacher = teacher;
    this.student = student;
    this.layers = layers;
    this.first = first;
    this.decoder = new DecoderLayer(backend, config);
    this.held = held(layers.residence(), layers.depth() - first);
    this.decoderGradient = new DecoderGradient(backend, config, tokens, held);
    this.work = new Workspace(backend, config, tokens);
    this.arena = backend.arena();
    for (int i = first; i <= layers.depth(); i++) {
      inputs.add(allocate(tokens));
    }
    reference = allocate(tokens);
    hidden = allocate(tokens);
    gradient = allocate(tokens);
  }

  private Tensor allocate(long tokens) {
    return arena.allocate(DType.F32, tokens, config.hiddenSize());
  }

  /**
   * Bytes of buffers.
   *
   * @param trained number of trained layers
   */
  static long bytes(ModelConfig config, long tokens, int trained, Residence residence) {
    return DecoderGradient.bytes(config, tokens, held(residence, trained))
        + Workspace.bytes(config, tokens)
        + (trained + 4L) * tokens * config.hiddenSize() * Float.BYTES;
  }

  private static int held(Residence residence, int trained) {
    return residence.keepsResults() ? trained : 1;
  }

  Backend backend() {
    return backend;
  }

  ModelConfig config() {
    return config;
  }

  /** Columns of hidden states. */
  int width() {
    return config.hiddenSize();
  }

  TokenBatch batch(PackedSequences sequences) {
    return teacher.batch(sequences);
  }

  /**
   * Runs the original.
   *
   * @param shared gets the hidden states in front of the first trained layer, {@code [T, d]}
   * @param last gets the last hidden states, after the final norm, {@code [T, d]}
   */
  void teach(TokenBatch batch, Tensor shared, Tensor last) {
    teacher.embed(batch, last);
    for (int index = 0; index < first; index++) {
      teacher.layer(index, last, batch, work, null);
    }
    backend.copy(last, shared);
    teacher.finish(first, last, batch, work, last);
  }

  /** Where {@link #learn} finds the hidden states in front of the first trained layer. */
  Tensor shared(long tokens) {
    return input(first, tokens);
  }

  /**
   * Runs the trained layers on what {@link #shared} holds.
   *
   * @return the last hidden states, after the final norm, {@code [T, d]}; valid until the next call
   */
  Tensor learn(TokenBatch batch) {
    long tokens = batch.sequences().size();
    results.clear();
    for (int index = first; index < layers.depth(); index++) {
      DecoderGradient.Results passed = forward(index, batch, input(index + 1, tokens));
      if (isHeld(index)) {
        results.add(passed);
      }
    }
    TrainedLayers.FinalNorm norm = layers.finalNorm();
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

  /** Where {@link #train} finds the original's last hidden states. */
  Tensor reference(long tokens) {
    return reference.slice(0, tokens);
  }

  /**
   * Runs the trained layers on what {@link #shared} holds and adds the gradients of the loss
   * against what {@link #reference} holds.
   *
   * @param scale factor on the gradients
   * @return the sum of the losses of all tokens
   */
  double train(TokenBatch batch, double labelShare, double scale) {
    double all = scale * layers.gradientScale();
    int tokens = batch.sequences().size();
    Tensor last = reference(tokens);
    Tensor by = gradient.slice(0, tokens);
    Tensor states = learn(batch);
    double[] losses = new double[tokens];
    TrainingOps training = backend.training();
    training.distillationLoss(states, last, student.head(), batch, labelShare, all, losses, by);
    student.release();
    TrainedLayers.FinalNorm norm = layers.finalNorm();
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
    double sum = 0;
    for (double loss : losses) {
      sum += loss;
    }
    return sum;
  }

  @Override
  public void close() {
    arena.close();
    work.close();
    decoderGradient.close();
  }
}
