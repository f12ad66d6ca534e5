package dev.laco.scoring;

import dev.laco.backend.TokenBatch;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import org.jspecify.annotations.Nullable;

/** Batches of one, two, … copies of the calibration set; each batch is made once. */
final class RepeatedBatches implements AutoCloseable {
  private final CausalLm model;
  private final PackedSequences calibration;
  private final @Nullable TokenBatch[] byCopies;

  /** Up to {@code most} copies. */
  RepeatedBatches(CausalLm model, PackedSequences calibration, int most) {
    this.model = model;
    this.calibration = calibration;
    this.byCopies = new TokenBatch[most + 1];
  }

  /** Tokens of one copy. */
  int tokens() {
    return calibration.size();
  }

  /** Copies of the largest batch. */
  int most() {
    return byCopies.length - 1;
  }

  /** {@code copies} times the calibration set. */
  TokenBatch of(int copies) {
    TokenBatch batch = byCopies[copies];
    if (batch == null) {
      batch = model.batch(calibration.repeated(copies));
      byCopies[copies] = batch;
    }
    return batch;
  }

  @Override
  public void close() {
    for (TokenBatch batch : byCopies) {
      if (batch != null) {
        batch.close();
      }
    }
  }
}
