package dev.laco.model;

/**
 * How the logits of a router become the shares of experts.
 *
 * @param scores what the logits become first
 * @param normalised whether the scores of a token's experts are divided by their sum
 * @param factor the factor on shares
 */
public record RouterSpec(Scores scores, boolean normalised, double factor) {
  /** The score of an expert by the logits of a token. */
  public enum Scores {
    /** The softmax over the logits of all experts (Shazeer et al. 2017). */
    SOFTMAX,
    /** The sigmoid of the expert's own logit (DeepSeek-V3, 2024, eq. 15). */
    SIGMOID
  }

  /** Shares are a softmax over the logits of the chosen experts, or over all of them. */
  public static RouterSpec softmax(boolean ofChosen) {
    return new RouterSpec(Scores.SOFTMAX, ofChosen, 1);
  }
}
