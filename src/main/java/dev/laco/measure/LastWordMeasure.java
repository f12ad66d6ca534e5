package dev.laco.measure;

import dev.laco.backend.Device;
import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.report.LastWord;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;
import java.util.List;

/** Measures how often a model predicts the last word of a passage. */
public final class LastWordMeasure {
  private LastWordMeasure() {}

  /**
   * Runs a model over passages whose scored tokens are those of the last word. A passage takes one
   * pass: each token is predicted from the true tokens before it.
   *
   * @param passages at least one
   */
  public static LastWord measure(CausalLm model, List<Chunk> passages, Progress progress) {
    return LastWord.of(byPassage(model, passages, progress));
  }

  /** Like {@link #measure}: of each passage, whether its last word is predicted. */
  public static boolean[] byPassage(CausalLm model, List<Chunk> passages, Progress progress) {
    boolean[] known = new boolean[passages.size()];
    int measured = 0;
    long total = passages.stream().mapToLong(Chunk::length).sum();
    long done = 0;
    List<List<Chunk>> batches = ChunkBatches.of(model.backend(), model.config(), passages);
    int tokens = ChunkBatches.maxTokens(batches);
    int scored = ChunkBatches.maxScored(batches);
    try (TensorArena arena = model.backend().arena();
        Workspace work = new Workspace(model.backend(), model.config(), tokens)) {
      Tensor states = arena.allocate(DType.F32, tokens, model.config().hiddenSize());
      Tensor rows = arena.allocate(DType.F32, scored, model.config().hiddenSize());
      Likeliest likeliest = new Likeliest(model, arena, scored);
      for (List<Chunk> together : batches) {
        try (TokenBatch batch = ChunkBatches.packed(model, together)) {
          model.run(batch, states.slice(0, batch.sequences().size()), work);
          int count = gather(model.backend(), together, batch.sequences(), states, rows);
          setKnown(together, likeliest.of(rows.slice(0, count)), known, measured);
          measured += together.size();
          done += batch.sequences().size();
        }
        progress.update(done, total);
      }
    }
    return known;
  }

  /** Bytes of buffers that measuring these passages needs. */
  public static long bytes(Device device, ModelConfig config, List<Chunk> passages) {
    List<List<Chunk>> batches = ChunkBatches.of(device, config, passages);
    long tokens = ChunkBatches.maxTokens(batches);
    long scored = ChunkBatches.maxScored(batches);
    return Workspace.bytes(config, tokens)
        + (tokens + scored) * config.hiddenSize() * DType.F32.byteSize()
        + Likeliest.bytes(config, scored);
  }

  /**
   * Copies the hidden states that predict scored tokens to the front of {@code rows}, and returns
   * their number.
   */
  private static int gather(
      DeviceMemory backend,
      List<Chunk> chunks,
      PackedSequences sequences,
      Tensor states,
      Tensor rows) {
    int count = 0;
    for (int s = 0; s < chunks.size(); s++) {
      int scored = ChunkBatches.scored(chunks.get(s));
      int end = sequences.offsets()[s + 1] - 1;
      backend.copy(states.slice(end - scored, end), rows.slice(count, count + scored));
      count += scored;
    }
    return count;
  }

  /** Sets {@code known} for each of some chunks, the first of which has the index {@code from}. */
  private static void setKnown(List<Chunk> chunks, int[] likeliest, boolean[] known, int from) {
    int row = 0;
    for (int c = 0; c < chunks.size(); c++) {
      int[] ids = chunks.get(c).ids();
      boolean all = true;
      for (int i = chunks.get(c).firstScored(); i < ids.length; i++) {
        all &= likeliest[row++] == ids[i];
      }
      known[from + c] = all;
    }
  }
}
