package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class InputJsonTest {
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
