package dev.laco.collapse;

import java.util.Locale;

/** What a search makes as good as it can. */
public enum Objective {
  /** The paper's: cosine of the last hidden states. */
  COSINE,
  /** Divergence of the next token's distribution from the original's. */
  KL,
  /** Negative log-likelihood of the calibration tokens. */
  NLL;

  /** The value of {@code --objective}. */
  public String optionValue() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** True if the scores must tell of next tokens. */
  public boolean needsLanguage() {
    return this != COSINE;
  }

  /** The number of a score that this is about, as it is measured. */
  public double measured(Score score) {
    double value = value(score);
    return needsLanguage() ? -value : value;
  }

  /**
   * How good a score is; the higher, the better.
   *
   * @throws IllegalStateException if the score lacks what is asked for
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
