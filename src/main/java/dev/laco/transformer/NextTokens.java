package dev.laco.transformer;

import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;

/**
 * How well the last hidden states of a batch predict next tokens. Row {@code t} of hidden states
 * {@code [T, d]}, after the final norm, predicts token {@code t + 1} of its sequence; the row of a
 * sequence's last token predicts none.
 */
public final class NextTokens {
  private NextTokens() {}

  /**
   * Negative log-likelihood of each row's next token, nats, {@code [K T]}; 0 for the last row of a
   * sequence.
   *
   * @param model whose head turns hidden states into logits
   * @param hidden of K candidates, one after the other, {@code [K T, d]}
   */
  public static double[] nll(CausalLm model, Tensor hidden, TokenBatch batch) {
    double[] byRow = new double[Math.toIntExact(hidden.rows())];
    model.backend().logProbability(hidden, model.head(), batch, byRow);
    for (int row = 0; row < byRow.length; row++) {
      byRow[row] = -byRow[row];
    }
    return byRow;
  }

  /**
   * {@code KL(original || pruned)} of the distributions that each row predicts, nats, {@code [K
   * T]}; the last row of a sequence has one, too.
   *
   * @param original whose head turns the hidden states of both models into logits
   * @param reference the original's last hidden states, {@code [T, d]}
   * @param hidden those of K pruned models, one after the other, {@code [K T, d]}
   */
  public static double[] kl(CausalLm original, Tensor reference, Tensor hidden, TokenBatch batch) {
    double[] byRow = new double[Math.toIntExact(hidden.rows())];
    original.backend().klDivergence(hidden, reference, original.head(), batch, byRow);
    return byRow;
  }
}
