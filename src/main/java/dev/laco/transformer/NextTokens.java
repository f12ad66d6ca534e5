package dev.laco.transformer;

import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import java.util.stream.IntStream;

/**
 * How well the last hidden states of a batch predict next tokens. Row {@code t} of hidden states
 * {@code [T, d]}, after the final norm, predicts token {@code t + 1} of its sequence; the row of a
 * sequence's last token predicts none.
 */
public final class NextTokens {
  private NextTokens() {}

  /** All rows of a batch. */
  public static IntStream all(TokenBatch batch) {
    return IntStream.range(0, batch.sequences().size());
  }

  /**
   * Sum of the negative log-likelihoods that rows give to their next tokens, nats; 0 for the last
   * row of a sequence.
   *
   * @param model whose head turns hidden states into logits
   * @param rows that are summed over
   */
  public static double nll(CausalLm model, Tensor hidden, TokenBatch batch, IntStream rows) {
    double[] byRow = new double[batch.sequences().size()];
    model.backend().logProbability(hidden, model.head(), batch, byRow);
    return -rows.mapToDouble(row -> byRow[row]).sum();
  }

  /**
   * Sum of {@code KL(original || pruned)} of the predicted distributions, nats.
   *
   * @param original whose head turns the hidden states of both models into logits
   * @param reference the original's last hidden states, {@code [T, d]}
   * @param hidden the pruned model's
   * @param rows that are summed over
   */
  public static double kl(
      CausalLm original, Tensor reference, Tensor hidden, TokenBatch batch, IntStream rows) {
    double[] byRow = new double[batch.sequences().size()];
    original.backend().klDivergence(hidden, reference, original.head(), batch, byRow);
    return rows.mapToDouble(row -> byRow[row]).sum();
  }
}
