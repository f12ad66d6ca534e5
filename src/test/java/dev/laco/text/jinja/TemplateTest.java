package dev.laco.text.jinja;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Holds templates to what transformers and Jinja2 make of them. */
class TemplateTest {
  private static final JsonMapper JSON = new JsonMapper();
  private static final JsonNode RECORDED = recorded();

  private static JsonNode recorded() {
    return assertDoesNotFail(
        () -> JSON.readTree(Path.of("src/test/resources/chats/cases.json").toFile()));
  }

  private interface Reading {
    JsonNode read() throws Exception;
  }

  private static JsonNode assertDoesNotFail(Reading reading) {
    try {
      return reading.read();
    } catch (Exception e) {
      throw new AssertionError(e);
    }
  }

  private static List<JsonNode> cases() {
    List<JsonNode> cases = new ArrayList<>();
    RECORDED.path("cases").forEach(cases::add);
    return cases;
  }

  private static String render(String template) {
    Map<String, JsonNode> variables = new HashMap<>();
    RECORDED
        .path("variables")
        .properties()
        .forEach(entry -> variables.put(entry.getKey(), entry.getValue()));
    return Template.parse(template).render(variables);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void theTextIsThatOfTransformers(JsonNode recorded) {
    String template = recorded.path("template").textValue();
    if (recorded.path("text").isNull()) {
      assertThrows(TemplateException.class, () -> render(template));
    } else {
      assertEquals(recorded.path("text").textValue(), render(template));
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiterString = " => ",
      value = {
        "{{ raise_exception('Roles must alternate') }} => line 1: Roles must alternate",
        "{{ nobody.name }} => line 1: 'nobody' is undefined",
        "{% for x in l %}{{ x + s }}{% endfor %} => line 1: cannot use '+' with int and str",
        "{{ l | nofilter }} => line 1: there is no filter 'nofilter'",
        "{{ l is notest }} => line 1: there is no test 'notest'",
        "{% include 'x' %} => line 1: there is no statement 'include'",
        "{% if x %} => line 1: expected 'elif' or 'else' or 'endif', found the end of the template",
        "{{ 'a => line 1: a string has no end",
        "{{ l[ => line 1: '}}' is missing at the end",
        "{{ range(9999999) }} => line 1: a range has more than 1,000,000 elements",
        "{{ 'a' * 99999999 }} => line 1: a value would have more than 16,777,216 characters or"
            + " elements",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }} => line 1: more than 64 calls inside each"
            + " other",
        "{{ 2 ** 99 }} => line 1: a number is too large, or divided by zero",
        "{{ strftime_now('%Q') }} => line 1: '%Q' of strftime is not supported"
      })
  void anErrorSaysWhereAndWhat(String template, String says) {
    TemplateException error = assertThrows(TemplateException.class, () -> render(template));
    assertEquals(says, error.getMessage());
  }

  @Test
  void anErrorNamesTheLineOfItsStatement() {
    TemplateException error =
        assertThrows(
            TemplateException.class, () -> render("a\n{% if true %}\n\n{{ n.x.y }}\n{% endif %}"));
    assertTrue(error.getMessage().startsWith("line 4: "), error.getMessage());
  }

  @ParameterizedTest
  @ValueSource(strings = {"(", "[", "{1:", "not ", "-", "f(", "{% if x %}", "{% for i in l %}"})
  void deepNestingIsAnError(String opening) {
    String template =
        opening.startsWith("{%") ? opening.repeat(100_000) : "{{ " + opening.repeat(100_000);
    assertThrows(TemplateException.class, () -> Template.parse(template));
  }

  @Test
  void deepValuesAreAnError() {
    String template =
        "{% set n = namespace(v=[]) %}{% for i in range(200000) %}{% set n.v = [n.v] %}"
            + "{% endfor %}{{ n.v }}";
    assertThrows(TemplateException.class, () -> render(template));
  }

  /** What a template uses up is bounded, whatever it does. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}"
            + "{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}"
            + "{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}"
            + "{% endfor %}{{ n.s == n.s }}",
        "{% set n = namespace(s={}) %}{% for i in range(60) %}{% set n.s = {1: n.s, 2: n.s} %}"
            + "{% endfor %}{{ n.s }}",
        "{% set n = namespace(s='') %}{% for i in range(900000) %}{% set n.s = n.s ~ s %}"
            + "{% endfor %}",
        "{{ ('a,' * 8000000).split(',') | length }}",
        "{{ ('a ' * 8000000).split() | length }}",
        "{{ ('a' * 8000000) | list | length }}",
        "{% for c in 'a' * 8000000 %}{% endfor %}",
        "{{ ('a' * 8000000)[::-1] }}",
        "{% for i in range(900) %}{{ s * 3000 }}{% endfor %}",
        "{% set n = namespace() %}{% set n.me = n %}{{ {n: 1} }}",
        "{% macro f(i) %}{% if i %}{{ f(i - 1) }}{{ f(i - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for a in range(900000) %}{% for b in range(900) %}{% endfor %}{% endfor %}",
        "{{ [1, 2] | sort(attribute='a,' * 1000000) }}"
      })
  void noTemplateTakesTooMuch(String template) {
    Template parsed = Template.parse(template);
    Map<String, JsonNode> variables = Map.of("s", RECORDED.path("variables").path("s"));
    assertThrows(TemplateException.class, () -> parsed.render(variables, Duration.ofMillis(500)));
  }

  /** The time of a filter is not measured while it runs, so that it must not be the square. */
  @Test
  void aLongTextIsNoNumberAtOnce() {
    String rendered =
        assertTimeoutPreemptively(
            Duration.ofSeconds(20),
            () -> render("{{ ('1' * 1000000 ~ 'x') | float }} {{ ('1' * 1000000 ~ 'x') | int }}"));
    assertEquals("0.0 0", rendered);
  }

  /** Texts that look like templates give a text or an error of this room, and nothing else. */
  @Test
  void changedTemplatesFailInOneWay() {
    Random random = new Random(Long.getLong("laco.test.seed", 1));
    List<JsonNode> cases = cases();
    for (int round = 0; round < 3000; round++) {
      StringBuilder template =
          new StringBuilder(cases.get(random.nextInt(cases.size())).path("template").textValue());
      String other = cases.get(random.nextInt(cases.size())).path("template").textValue();
      for (int change = 1 + random.nextInt(3); change > 0 && !template.isEmpty(); change--) {
        int at = random.nextInt(template.length());
        int end = Math.min(template.length(), at + random.nextInt(6));
        int from = random.nextInt(other.length());
        int to = Math.min(other.length(), from + random.nextInt(6));
        template.replace(at, end, other.substring(from, to));
      }
      try {
        render(template.toString());
      } catch (TemplateException e) {
        assertTrue(!e.getMessage().isEmpty());
      } catch (RuntimeException | Error e) {
        throw new AssertionError("of " + template, e);
      }
    }
  }
}
