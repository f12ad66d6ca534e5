package dev.laco.fit;

import dev.laco.collapse.FitRule;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import java.util.List;

/**
 * How pruned models are compared by fits on few tokens, before one is fitted on all of a text.
 *
 * @param rule by which the chosen model is fitted
 * @param strengths factors on the penalties of the rule that are tried; none where 1 is taken
 */
public record QuickFits(FitRule rule, List<Double> strengths) {
  /** Factors that are tried on the best model. */
  private static final List<Double> STRENGTHS = List.of(1.0, 0.3, 3.0);

  /** The most tokens of a text that a quick fit sees. */
  private static final int TOKENS = 8_192;

  /** The most tokens that it is measured on. */
  private static final int JUDGED = 4_096;

  /**
   * The part of these tokens that tells layers apart; strengths, of which models differ less, take
   * all.
   */
  private static final int PART = 2;

  /** The same of a rule that trains layers, which takes some ten passes of a layer over them. */
  private static final int TRAINED_PART = 4;

  /** Models of fewer feed-forward channels are told apart by fewer tokens, in proportion. */
  private static final int CHANNELS = 1024;

  /** The fewest channels for that. */
  private static final int LEAST_CHANNELS = 256;

  /** Quick fits that see the most tokens. */
  static final QuickFits LARGEST = new QuickFits(FitRule.ALIGN, STRENGTHS);

  public QuickFits {
    strengths = List.copyOf(strengths);
  }

  /**
   * The quick fits in front of a fit. Strengths are tried of a rule with penalties, but not where
   * layers are trained behind its solutions, by the rule or after the fit: a training makes up for
   * any of them.
   *
   * @param trained whether the fitted model is trained
   */
  public static QuickFits of(FitRule rule, boolean trained) {
    boolean tries = rule.solves() && !rule.reconstructs() && !trained;
    return new QuickFits(rule, tries ? STRENGTHS : List.of());
  }

  /** The rule of the quick fits that tell layers apart. */
  public FitRule cheap() {
    // Fits of the layers behind a gap take most of the time and hardly change the order of models.
    return rule.atGapsOnly();
  }

  /** Whether there is nothing to compare. */
  public boolean isNeedless(int models) {
    return models == 1 && strengths.isEmpty();
  }

  /** The part of a text that a quick fit of a model sees. */
  public FitText seen(ModelConfig config, FitText text) {
    int part = part(TOKENS);
    int channels = Math.clamp(config.intermediateSize(), LEAST_CHANNELS, CHANNELS);
    return text.limit(strengths.isEmpty() ? part * channels / CHANNELS : part);
  }

  /** The part of a text that models are measured on. */
  public FitText judged(FitText text) {
    return new FitText(text.name(), FitBlocks.split(text.chunks(), true)).limit(part(JUDGED));
  }

  private int part(int most) {
    if (!strengths.isEmpty()) {
      return most;
    }
    return most / (cheap().reconstructs() ? TRAINED_PART : PART);
  }
}
