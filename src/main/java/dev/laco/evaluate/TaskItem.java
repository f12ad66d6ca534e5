package dev.laco.evaluate;

import dev.laco.BadInputException;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * One item of a task: what a model is asked, and what is right.
 *
 * @param document the item as its file has it
 * @param asked the continuations whose likelihoods are asked for: of a multiple-choice item one for
 *     each answer; of an item whose context the model continues the right continuation
 * @param choices the answers as they are counted for {@code acc_norm}; empty where there are none
 * @param gold index of the right answer; 0 where there are none
 * @param target the right answer as lm-evaluation-harness writes it into a sample
 */
record TaskItem(
    Document document, List<Asked> asked, List<String> choices, int gold, String target) {
  /** What lm-evaluation-harness puts between a context and an answer. */
  private static final String DELIMITER = " ";

  /** A context and the text behind it whose likelihood is asked for. */
  record Asked(String context, String continuation) {}

  /** An item each of whose likelihoods is that of a text. */
  private static TaskItem of(
      Document document, List<Asked> asked, List<String> choices, int gold, String target) {
    if (asked.stream().anyMatch(one -> one.continuation().isBlank())) {
      throw new BadInputException(document.where() + " has an empty answer");
    }
    return new TaskItem(document, asked, choices, gold, target);
  }

  /** A question with answers. */
  static TaskItem question(Document document, String context, List<String> choices, int gold) {
    if (choices.size() < 2 || gold >= choices.size()) {
      throw new BadInputException(
          document.where()
              + " has "
              + choices.size()
              + " answers, of which number "
              + gold
              + " is called right; it needs at least two, and one of them right");
    }
    return of(
        document,
        choices.stream().map(choice -> new Asked(context, DELIMITER + choice)).toList(),
        choices,
        gold,
        Integer.toString(gold));
  }

  /** Partial evaluation (Trinh and Le 2018): contexts with one ending. */
  static TaskItem ending(Document document, List<String> contexts, String ending, int gold) {
    return of(
        document,
        contexts.stream().map(context -> new Asked(context, DELIMITER + ending)).toList(),
        contexts,
        gold,
        ending);
  }

  /** A context and its one continuation. */
  static TaskItem continuation(Document document, String context, String continuation) {
    return of(document, List.of(new Asked(context, continuation)), List.of(), 0, continuation);
  }

  /**
   * A context that the model continues.
   *
   * @param target the continuation that is right; empty where there is none
   */
  static TaskItem generation(Document document, String context, String target) {
    return new TaskItem(document, List.of(new Asked(context, target)), List.of(), 0, target);
  }

  /**
   * A text.
   *
   * @param form the text in the form in which a model reads it
   */
  static TaskItem text(Document document, String form) {
    return continuation(document, "", form);
  }

  /** The item behind other text. */
  TaskItem behind(String before) {
    return before.isEmpty()
        ? this
        : new TaskItem(
            document,
            asked.stream().map(one -> new Asked(before + one.context, one.continuation)).toList(),
            choices,
            gold,
            target);
  }

  /** The item with each of its answers also without the question. */
  TaskItem withAnswersAlone() {
    List<Asked> alone = asked.stream().map(one -> new Asked("", one.continuation)).toList();
    return new TaskItem(
        document, Stream.concat(asked.stream(), alone.stream()).toList(), choices, gold, target);
  }

  /** The item with its right answer, as it stands in front of others. */
  String example() {
    Asked right = asked.get(gold);
    return right.context + (choices.isEmpty() ? DELIMITER : "") + right.continuation + "\n\n";
  }

  /** The share of items like this one that guessing gets right; 0 where guessing is hopeless. */
  double chance() {
    return choices.isEmpty() ? 0 : 1.0 / choices.size();
  }

  /**
   * Whether the right answer has the highest score; of equal scores the first counts.
   *
   * @param scores one for each answer
   */
  boolean right(double[] scores) {
    int best =
        IntStream.range(0, scores.length)
            .reduce((a, b) -> scores[b] > scores[a] ? b : a)
            .orElseThrow();
    return best == gold;
  }
}
