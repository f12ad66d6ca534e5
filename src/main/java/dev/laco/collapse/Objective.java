package dev.laco.collapse;

import java.util.Locale;

/** The measure by which a search compares models. */
public enum Objective {
  /** Cosine of the last hidden states with the original's, as in the paper. */
  COSINE,
  /** Divergence of the next token's distribution from the original's. */
  KL,
  /** Negative log-likelihood of the calibration tokens. */
  NLL;

  /** The value of the setting {@code objective}. */
  public String optionValue() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** True if scores need a {@link Score.Language}. */
  public boolean needsLanguage() {
    return this != COSINE;
  }

  /** The cosine, divergence or negative log-likelihood of a score, as it was measured. */
  public double measured(Score score) {
    double value = value(score);
    return needsLanguage() ? -value : value;
  }

  /**
   * The measure of a score with its sign turned so that higher is better.
   *
   * @throws IllegalStateException if the score does not have this measure
   */
  public double value(Score score) {
    Score.Language language = score.language();
    if (needsLanguage() && language == null) {
      throw new IllegalStateException("a score without next tokens");
    }
    return switch (this) {
      case COSINE -> score.mean();
      case KL -> language == null ? Double.NaN : -requireKl(language);
      case NLL -> language == null ? Double.NaN : -language.nll();
    };
  }

  private static double requireKl(Score.Language language) {
    if (language.kl() == null) {
      throw new IllegalStateException("a score without divergence");
    }
    return language.kl();
  }
}
