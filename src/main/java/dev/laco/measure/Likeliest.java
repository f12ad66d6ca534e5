package dev.laco.measure;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import java.util.List;

/** Finds the most likely next token for each of some last hidden states. */
final class Likeliest {
  /** Number of states whose logits are in memory at once. */
  private static final int LOGIT_ROWS = 16;

  private final CausalLm model;
  private final Tensor logits;

  /**
   * Allocates the buffer of logits.
   *
   * @param most the most states of one call
   */
  Likeliest(CausalLm model, TensorArena arena, int most) {
    int vocabulary = model.config().vocabSize();
    this.model = model;
    this.logits = arena.allocate(DType.F32, Math.min(most, LOGIT_ROWS), vocabulary);
  }

  /** Bytes of the buffer of logits. */
  static long bytes(ModelConfig config, long most) {
    return Math.min(most, LOGIT_ROWS) * config.vocabSize() * DType.F32.byteSize();
  }

  /** One token for each row of {@code states [R, d]}; of equally likely ones the lowest id. */
  int[] of(Tensor states) {
    int[] tokens = new int[(int) states.rows()];
    for (int from = 0; from < tokens.length; from += LOGIT_ROWS) {
      int to = Math.min(from + LOGIT_ROWS, tokens.length);
      model.logits(states.slice(from, to), logits.slice(0, to - from));
      System.arraycopy(
          Sampler.GREEDY.choose(model.backend(), logits.slice(0, to - from), List.of()),
          0,
          tokens,
          from,
          to - from);
    }
    model.release();
    return tokens;
  }
}
