package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class InputJsonTest {
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "{'a': 1, 'a': 2} | line 1, column 15: Duplicate field 'a'",
        "{} {} | line 1, column 4: Trailing token (of type START_OBJECT) found after value",
        "{/*c*/} | line 1, column 2: Unexpected character ('/' (code 47)): maybe a (non-standard)"
            + " comment?",
        "{'a': +1} | line 1, column 8: Unexpected character ('+' (code 43)) in numeric value: JSON"
            + " spec does not allow numbers to have plus signs",
      })
  void whatIsNotAllowedIsSaidWithoutSettingsOfTheParser(String text, String says) {
    BadInputException refused =
        assertThrows(
            BadInputException.class, () -> InputJson.parse("a.json", text.replace('\'', '"')));
    assertEquals("a.json: is not valid JSON at " + says, refused.getMessage());
  }

  @Test
  void anObjectThatDoesNotEndIsSaidInTheWordsOfTheFile() {
    BadInputException refused =
        assertThrows(BadInputException.class, () -> InputJson.parse("a.json", "{\"key\": 1\n"));
    assertEquals(
        "a.json: is not valid JSON at line 2, column 1: Unexpected end-of-input: expected close"
            + " marker for Object that begins at line 1, column 1",
        refused.getMessage());
  }
}
