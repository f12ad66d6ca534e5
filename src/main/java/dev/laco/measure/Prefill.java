package dev.laco.measure;

import dev.laco.Seconds;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;

/** Runs models over the same sequences, all in one batch, without the head. */
public final class Prefill implements AutoCloseable {
  private final TensorArena arena;
  private final Workspace work;
  private final TokenBatch batch;
  private final Tensor states;

  /**
   * Allocates the buffers.
   *
   * @param model one of the models, which differ in their layers alone
   */
  public Prefill(CausalLm model, PackedSequences sequences) {
    arena = model.backend().arena();
    work = new Workspace(model.backend(), model.config(), sequences.size());
    batch = model.batch(sequences);
    states = arena.allocate(DType.F32, sequences.size(), model.config().hiddenSize());
  }

  /** The seconds of a run. */
  public double seconds(CausalLm model) {
    long start = System.nanoTime();
    model.run(batch, states, work);
    // A GPU has only queued the work until something comes back.
    model.backend().download(states.slice(0, 1), new float[model.config().hiddenSize()]);
    return Seconds.since(start);
  }

  @Override
  public void close() {
    batch.close();
    work.close();
    arena.close();
  }
}
