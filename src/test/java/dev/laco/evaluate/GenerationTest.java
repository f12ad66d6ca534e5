package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What is found in a text that a model wrote. */
final class GenerationTest {
  /** The answers are those of the filters of lm-evaluation-harness 0.4.13. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          So it is 3+4=7.\\n#### 7            | 7         | 7       | true  | true
          = #### -1,250.50 and then 3         | -1,250.50 | 3       | false | false
          It costs $12.                       | [invalid] | $12.    | false | false
          = #### 7.                           | 7.        | 7.      | true  | true
          = #### 5, no, #### 7                  | 5,        | 7       | false | true
          The answer is 7 of 10, -7           | [invalid] | -7      | false | false
          =####7 seven                        | [invalid] | 7       | false | true
          no number                           | [invalid] | [invalid] | false | false
          It is (1,000) or 2.                 | [invalid] | 2.      | false | false
          x... 7                              | [invalid] | 7       | false | true
          seven... of                         | [invalid] | ...     | false | false
          """)
  void answersAreFoundAndComparedAsInTheHarness(
      String text, String strict, String flexible, boolean strictRight, boolean flexibleRight) {
    String whole = text.replace("\\n", "\n");
    String target = "They have 3+4=<<3+4=7>>7 apples.\n#### 7";
    assertEquals(strict, Gsm8k.answer(Metric.STRICT, whole));
    assertEquals(flexible, Gsm8k.answer(Metric.FLEXIBLE, whole));
    assertEquals(strictRight, Gsm8k.isRight(Metric.STRICT, whole, target));
    assertEquals(flexibleRight, Gsm8k.isRight(Metric.FLEXIBLE, whole, target));
  }

  @Test
  void thousandsAndDollarsMakeNoDifference() {
    assertEquals(true, Gsm8k.isRight(Metric.FLEXIBLE, "It costs $1,250.", "#### 1250"));
    assertEquals(true, Gsm8k.isRight(Metric.STRICT, "#### 1250", "In all $1,250.\n#### 1,250"));
    assertEquals(false, Gsm8k.isRight(Metric.STRICT, "#### 1250.0", "#### 1250"));
  }

  @Test
  void aTextEndsInFrontOfAStopText() {
    List<String> until = List.of("Question:", "</s>");
    assertEquals("7\n\n", GenerationItems.cut("7\n\nQuestion: 2</s>", until));
    assertEquals("7", GenerationItems.cut("7</s>\nQuestion: 2", until));
    assertEquals("7", GenerationItems.cut("7", until));
  }

  @Test
  void repetitionIsTheShareOfRunsThatStoodThereBefore() {
    assertEquals(0, GenerationItems.repetition(new int[] {1, 2, 3, 4, 5, 6, 7}));
    // Five runs, of which three are different: 1 2 1 2, 2 1 2 1, 1 2 1 3.
    assertEquals(0.4, GenerationItems.repetition(new int[] {1, 2, 1, 2, 1, 2, 1, 3}), 1e-15);
    assertEquals(1 - 1 / 125.0, GenerationItems.repetition(new int[128]), 1e-15);
    assertEquals(0, GenerationItems.repetition(new int[] {1, 1, 1}));
  }
}
