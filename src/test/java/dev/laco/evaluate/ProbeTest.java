package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;

/** Probes ask what can be answered, and know the answer. */
final class ProbeTest {
  private static final Map<String, String> CLOSES = Map.of("(", ")", "[", "]", "{", "}");

  private record Asked(List<String> solved, String question, String answer) {
    static Asked of(Document document) {
      String[] lines = document.text("context").split("\n");
      List<String> before = List.of(lines).subList(0, lines.length - 1);
      return new Asked(before, lines[lines.length - 1], document.text("answer"));
    }
  }

  private static List<Asked> items(String name) {
    List<Asked> items = new ArrayList<>();
    Items made = Objects.requireNonNull(Task.named(List.of(name)).getFirst().made());
    long all = made.read(Long.MAX_VALUE, any -> true, document -> items.add(Asked.of(document)));
    assertEquals(100, all);
    assertEquals(100, items.size());
    return items;
  }

  /** The answer to a question, found in another way than the probe's. */
  private static String answer(String name, String question, List<String> before) {
    String[] words = question.split(" ");
    List<String> given = List.of(words).subList(1, words.length - 1);
    if (name.startsWith("laco_arithmetic")) {
      long right = Long.parseLong(words[2]);
      return Long.toString(
          Long.parseLong(words[0]) + (words[1].equals("+") ? right : Math.negateExact(right)));
    }
    return switch (name) {
      case "laco_brackets" -> closing(List.of(words).subList(0, words.length - 1));
      case "laco_copy" -> String.join(" ", given);
      case "laco_count" -> Integer.toString(given.size());
      case "laco_sort" -> {
        String[] sorted = given.toArray(String[]::new);
        Arrays.sort(sorted);
        yield String.join(" ", sorted);
      }
      case "laco_needle" -> {
        List<String> facts =
            before.stream().filter(fact -> fact.startsWith(question + " ")).toList();
        assertEquals(1, facts.size(), question);
        yield facts.getFirst().substring(question.length() + 1).replace(".", "");
      }
      default -> throw new IllegalArgumentException(name);
    };
  }

  private static String closing(List<String> brackets) {
    String left = "";
    for (String bracket : brackets) {
      left =
          CLOSES.containsKey(bracket)
              ? CLOSES.get(bracket) + " " + left
              : left.substring((bracket + " ").length());
    }
    return left.strip();
  }

  @Test
  void everyAnswerIsRightAndNoExampleGivesItAway() {
    List<String> probes = new ArrayList<>(Task.group("probes").orElseThrow().tasks());
    assertTrue(probes.remove("laco_repetition"));
    assertEquals(9, probes.size());
    for (String name : probes) {
      boolean needle = name.equals("laco_needle");
      Map<String, Integer> questions = new HashMap<>();
      for (Asked asked : items(name)) {
        assertEquals(asked.answer, answer(name, asked.question, asked.solved), asked.question);
        questions.merge(asked.question, 1, Integer::sum);
        if (!needle) {
          assertEquals(4, asked.solved.size());
          for (String example : asked.solved) {
            assertTrue(!example.startsWith(asked.question), example);
            int end = example.lastIndexOf(name.startsWith("laco_arith") ? "= " : "-> ") + 2;
            String question = example.substring(0, end).strip();
            assertEquals(example.substring(end).strip(), answer(name, question, List.of()));
          }
        }
      }
      assertTrue(questions.size() > 30, name + " asks the same again and again");
    }
    assertEquals(items("laco_sort"), items("laco_sort"));
    assertNotEquals(items("laco_arithmetic_2"), items("laco_arithmetic_3"));
  }

  @Test
  void probesNeedNoFilesAndCountAsAGroup() {
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      EvaluateResult result =
          new EvaluateJob(
                  model,
                  DeviceSettings.of("cpu"),
                  new EvaluateRequest.Tasks(List.of("probes"), null, 2, null, null, null))
              .run();
      assertEquals(10, EvaluateJson.of(result).get("group_subtasks").get("probes").size());
      for (String name : Task.group("probes").orElseThrow().tasks()) {
        assertEquals(
            2, EvaluateJson.of(result).at("/n-samples/" + name + "/effective").intValue(), name);
        assertEquals(
            100, EvaluateJson.of(result).at("/n-samples/" + name + "/original").intValue(), name);
      }
    }
  }
}
