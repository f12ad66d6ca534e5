package dev.laco.evaluate;

import java.util.List;
import java.util.regex.Pattern;

/** Texts of WikiText, whose words and punctuation are apart, as people write them. */
final class WikiText {
  /**
   * A step of lm-evaluation-harness's {@code wikitext_detokenizer}.
   *
   * @param pattern what is replaced
   * @param by what stands in its place, in which {@code $1} is the first group
   */
  private record Step(Pattern pattern, String by) {
    static Step literal(String text, String by) {
      return new Step(Pattern.compile(text, Pattern.LITERAL), by);
    }

    static Step regex(String regex, String by) {
      return new Step(Pattern.compile(regex, Pattern.UNICODE_CHARACTER_CLASS), by);
    }
  }

  /** In the order in which the harness has them. */
  private static final List<Step> STEPS =
      List.of(
          Step.literal("s '", "s'"),
          Step.regex("/' [0-9]/", "/'[0-9]/"),
          Step.literal(" @-@ ", "-"),
          Step.literal(" @,@ ", ","),
          Step.literal(" @.@ ", "."),
          Step.literal(" : ", ": "),
          Step.literal(" ; ", "; "),
          Step.literal(" . ", ". "),
          Step.literal(" ! ", "! "),
          Step.literal(" ? ", "? "),
          Step.literal(" , ", ", "),
          Step.regex("\\(\\s*([^\\)]*?)\\s*\\)", "($1)"),
          Step.regex("\\[\\s*([^\\]]*?)\\s*\\]", "[$1]"),
          Step.regex("\\{\\s*([^}]*?)\\s*\\}", "{$1}"),
          Step.regex("\"\\s*([^\"]*?)\\s*\"", "\"$1\""),
          Step.regex("'\\s*([^']*?)\\s*'", "'$1'"),
          Step.literal("= = = =", "===="),
          Step.literal("= = =", "==="),
          Step.literal("= =", "=="),
          Step.literal(" \u00b0 ", "\u00b0"),
          Step.literal(" \n", "\n"),
          Step.literal("\n ", "\n"),
          Step.literal(" N ", " 1 "),
          Step.literal(" 's", "'s"));

  private WikiText() {}

  static String detokenized(String page) {
    String text = page;
    for (Step step : STEPS) {
      text = step.pattern.matcher(text).replaceAll(step.by);
    }
    return text;
  }
}
