package dev.laco.training;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;

/**
 * The forward pass of the original, and the {@link StudentPass} of the trained model, over one
 * batch of tokens. The layers in front of the first trained one are run once for both models.
 */
final class Passes implements AutoCloseable {
  private final Backend backend;
  private final ModelConfig config;
  private final CausalLm teacher;
  private final int first;
  private final StudentPass student;
  private final Workspace work;
  private final TensorArena arena;
  private final Tensor reference;

  Passes(CausalLm teacher, CausalLm student, TrainedLayers layers, int first, long tokens) {
    this.backend = teacher.backend();
    this.config = teacher.config();
    this.teacher = teacher;
    this.first = first;
    int held = held(layers.residence(), layers.depth() - first);
    this.student = new StudentPass(student, layers, first, held, tokens);
    this.work = new Workspace(backend, config, tokens);
    this.arena = backend.arena();
    reference = arena.allocate(DType.F32, tokens, config.hiddenSize());
  }

  /**
   * Bytes of buffers.
   *
   * @param trained number of trained layers
   */
  static long bytes(ModelConfig config, long tokens, int trained, Residence residence) {
    return StudentPass.bytes(config, tokens, trained, held(residence, trained))
        + Workspace.bytes(config, tokens)
        + tokens * config.hiddenSize() * Float.BYTES;
  }

  /** The number of layers whose results are held until the backward pass. */
  private static int held(Residence residence, int trained) {
    return residence.keepsResults() ? trained : 1;
  }

  Backend backend() {
    return backend;
  }

  ModelConfig config() {
    return config;
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
    return student.input(tokens);
  }

  /**
   * Runs the trained layers on what {@link #shared} holds.
   *
   * @return the last hidden states, after the final norm, {@code [T, d]}; valid until the next call
   */
  Tensor learn(TokenBatch batch) {
    return student.forward(batch);
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
    return student.train(batch, reference(batch.sequences().size()), labelShare, scale);
  }

  @Override
  public void close() {
    arena.close();
    work.close();
    student.close();
  }
}
