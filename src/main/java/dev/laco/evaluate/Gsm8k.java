package dev.laco.evaluate;

import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * The task GSM8K (Cobbe et al. 2021) as lm-evaluation-harness has it: prompts, where a generated
 * text ends, and how an answer is found in the text and compared with the right one.
 */
final class Gsm8k {
  /** Examples in front of each prompt. */
  static final int SHOTS = 5;

  /** A text ends in front of any of these. */
  static final List<String> UNTIL = List.of("Question:", "</s>", "<|im_end|>");

  /** The most tokens of a text: the harness's {@code max_gen_toks}. */
  static final int MAX_TOKENS = 256;

  /** The filters, each of which finds the answer in another way. */
  static final List<String> FILTERS = List.of(Metric.STRICT, Metric.FLEXIBLE);

  /** What a filter finds where there is no answer. */
  private static final String NONE = "[invalid]";

  private static final Pattern BEHIND_HASHES = Pattern.compile("#### (-?[0-9.,]+)");
  private static final Pattern NUMBER = Pattern.compile("(-?[$0-9.,]{2,})|(-?[0-9]+)");

  /** What makes no difference between two answers, in the order in which it is taken away. */
  private static final List<Pattern> IGNORED =
      List.of(
          Pattern.compile(","),
          Pattern.compile("\\$"),
          Pattern.compile("(?s).*#### "),
          Pattern.compile("(?d)\\.$"));

  private Gsm8k() {}

  static TaskItem item(Document document) {
    return TaskItem.generation(
        document, "Question: " + document.text("question") + "\nAnswer:", document.text("answer"));
  }

  /** The answer that a filter finds in a text. */
  static String answer(String filter, String text) {
    Matcher found = (filter.equals(Metric.STRICT) ? BEHIND_HASHES : NUMBER).matcher(text);
    String answer = NONE;
    while (found.find()) {
      Matcher match = found;
      answer =
          IntStream.rangeClosed(1, match.groupCount())
              .filter(group -> match.group(group) != null)
              .mapToObj(match::group)
              .findFirst()
              .orElse(NONE);
      if (filter.equals(Metric.STRICT)) {
        break;
      }
    }
    return PythonText.strip(answer);
  }

  /** Whether the answer that a filter finds in a text is the right one. */
  static boolean isRight(String filter, String text, String target) {
    return plain(answer(filter, text)).equals(plain(target));
  }

  private static String plain(String answer) {
    String plain = answer;
    for (Pattern ignored : IGNORED) {
      plain = ignored.matcher(plain).replaceAll("");
    }
    return plain.toLowerCase(Locale.ROOT);
  }
}
