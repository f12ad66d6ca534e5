package dev.laco.measure;

import dev.laco.backend.Device;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.text.Packing;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;
import java.util.List;
import java.util.stream.DoubleStream;

/** Chunks of a text packed into batches. */
final class ChunkBatches {
  /** Tokens of a batch on a processor: enough for matrix products to be efficient. */
  private static final int BATCH_TOKENS = 1024;

  private ChunkBatches() {}

  /** The most tokens of a batch of several chunks on a device. */
  static int batchTokens(Device device, ModelConfig config) {
    // Hidden states twice, beside the buffers of a layer.
    return device.batchTokens(
        BATCH_TOKENS, Workspace.bytes(config, 1) + 2L * config.hiddenSize() * DType.F32.byteSize());
  }

  /** The chunks in their order, cut into batches; a longer chunk is a batch of its own. */
  static List<List<Chunk>> of(Device device, ModelConfig config, List<Chunk> chunks) {
    return Packing.of(chunks, Chunk::length, batchTokens(device, config));
  }

  /** Tokens of the largest batch. */
  static int maxTokens(List<List<Chunk>> batches) {
    return batches.stream().mapToInt(ChunkBatches::tokens).max().orElse(1);
  }

  /** Scored tokens of the batch that has most. */
  static int maxScored(List<List<Chunk>> batches) {
    return batches.stream()
        .mapToInt(batch -> batch.stream().mapToInt(ChunkBatches::scored).sum())
        .max()
        .orElse(1);
  }

  /** Chunks packed into one batch of a model. */
  static TokenBatch packed(CausalLm model, List<Chunk> together) {
    return model.batch(PackedSequences.of(together.stream().map(Chunk::ids).toList()));
  }

  /**
   * Sum over the scored tokens of a batch.
   *
   * @param byRow a value for each row of the batch, about the token after that row
   */
  static double sumScored(List<Chunk> batch, double[] byRow) {
    return DoubleStream.of(sumsScored(batch, byRow)).sum();
  }

  /** As {@link #sumScored}, of each chunk. */
  static double[] sumsScored(List<Chunk> batch, double[] byRow) {
    double[] sums = new double[batch.size()];
    forEachScored(batch, (chunk, position, row) -> sums[chunk] += byRow[row]);
    return sums;
  }

  /** Is given the scored tokens of a batch. */
  interface Scored {
    /**
     * A scored token.
     *
     * @param chunk the number of its chunk in the batch
     * @param position its position in the chunk
     * @param row the row of the batch that predicts it
     */
    void accept(int chunk, int position, int row);
  }

  /** Walks over the scored tokens of a batch. */
  static void forEachScored(List<Chunk> batch, Scored scored) {
    int start = 0;
    for (int c = 0; c < batch.size(); c++) {
      Chunk chunk = batch.get(c);
      for (int i = chunk.firstScored(); i < chunk.length(); i++) {
        scored.accept(c, i, start + i - 1);
      }
      start += chunk.length();
    }
  }

  /** Tokens of a batch. */
  static int tokens(List<Chunk> batch) {
    return batch.stream().mapToInt(Chunk::length).sum();
  }

  /** Scored tokens of a chunk. */
  static int scored(Chunk chunk) {
    return chunk.length() - chunk.firstScored();
  }
}
