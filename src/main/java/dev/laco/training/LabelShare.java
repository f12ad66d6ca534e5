package dev.laco.training;

import org.jspecify.annotations.Nullable;

/**
 * The share of the loss of a distillation that is the language model's own. The loss of a token is
 * {@code (1 - s) KL(original || trained) - s log(probability of the next token of the text)}
 * (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section
 * 2).
 *
 * @param share s, 0 to 1
 * @param passes over the text in which that is s; 0 is s behind them, since next tokens of a text
 *     that is met often are learnt by heart, and the original's predictions are not
 */
public record LabelShare(double share, int passes) {
  /** The divergence alone. */
  public static final LabelShare NONE = new LabelShare(0, 0);

  /**
   * What suits a model that lost layers; docs/experiments/distillation.md, "Labels", has what it
   * was chosen by.
   */
  private static final LabelShare USUAL = new LabelShare(0.15, 9);

  /** A share that is given for all of a training; null for the usual one. */
  public static LabelShare of(@Nullable Double given) {
    return given == null ? USUAL : new LabelShare(given, Integer.MAX_VALUE);
  }

  /** s in a pass over the text, of which the first is 1. */
  double in(long pass) {
    return pass <= passes ? share : 0;
  }

  /** The passes behind which there are no labels; null for a training that ends before. */
  public @Nullable Integer ended(long lastPass) {
    return in(lastPass) == share ? null : passes;
  }

  /** The loss by which rates and weights of a training are compared. */
  double loss(double divergence, double nll) {
    return (1 - share) * divergence + share * nll;
  }
}
