package dev.laco.fit;

import dev.laco.collapse.FitRule;
import dev.laco.text.FitText;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The text on which a chosen model is fitted.
 *
 * @param layers the fit text, to which layers are fitted
 * @param norms further text, on which the norms are trained behind the fit of the layers, and to
 *     which nothing else is fitted; none where norms are not trained
 */
public record WholeText(FitText layers, List<FitText.Chunk> norms) {
  public WholeText {
    norms = List.copyOf(norms);
  }

  /** A fit text without further text. */
  public static WholeText of(FitText layers) {
    return new WholeText(layers, List.of());
  }

  /**
   * The first tokens of a text for the layers, and those behind them for the norms. Norms are
   * trained behind a rule that trains layers, unless a training of all weights follows, which does
   * as much for them; and where the text goes on for long enough.
   *
   * @param tokens for the layers, at most
   * @param trained whether a training of all weights follows
   */
  public static WholeText of(FitText source, int tokens, FitRule rule, boolean trained) {
    FitText layers = source.limit(tokens);
    if (!trainsNorms(rule, trained)) {
      return of(layers);
    }
    int wanted = NormTraining.tokens(tokens);
    List<FitText.Chunk> rest =
        source.chunks().subList(layers.chunks().size(), source.chunks().size());
    return wanted == 0 || FitText.tokens(rest) < wanted
        ? of(layers)
        : new WholeText(layers, new FitText(source.name(), rest).limit(wanted).chunks());
  }

  /**
   * The same for as many tokens as a fit text has; null where there is no fit.
   *
   * @param fit the beginning of the source
   */
  public static @Nullable WholeText orNull(
      @Nullable FitText source, @Nullable FitText fit, FitRule rule, boolean trained) {
    return source == null || fit == null ? null : of(source, fit.tokens(), rule, trained);
  }

  /** Whether norms are trained behind a fit by a rule. */
  static boolean trainsNorms(FitRule rule, boolean trained) {
    return rule.reconstructs() && !trained;
  }

  /** All of the text. */
  public FitText all() {
    return new FitText(
        layers.name(), Stream.concat(layers.chunks().stream(), norms.stream()).toList());
  }
}
