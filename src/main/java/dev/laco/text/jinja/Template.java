package dev.laco.text.jinja;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.time.LocalDate;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.format.TextStyle;
import java.time.temporal.ChronoField;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A template of Jinja 3 in the environment that transformers gives templates of chats ({@code
 * apply_chat_template}): {@code trim_blocks} and {@code lstrip_blocks} are on, loops can be left,
 * and there are {@code raise_exception}, {@code namespace}, {@code range}, {@code dict} and {@code
 * strftime_now}. The last one always tells {@link #TODAY}, so that a text is the same every day.
 */
public final class Template {
  /** The date that templates are told: the one that Llama 3's template takes where it has none. */
  public static final LocalDate TODAY = LocalDate.of(2024, 7, 26);

  /** Templates of models take far less than a second. */
  private static final Duration MOST_TIME = Duration.ofSeconds(10);

  private static final int MOST_ELEMENTS = 1_000_000;
  private static final Pattern FIELD = Pattern.compile("%.?", Pattern.DOTALL);

  private final Statement body;

  private Template(Statement body) {
    this.body = body;
  }

  /**
   * Reads a template.
   *
   * @throws TemplateException if it is none, or uses what is not supported
   */
  public static Template parse(String source) {
    try {
      return new Template(Parser.parse(source));
    } catch (StackOverflowError e) {
      throw new TemplateException("is nested too deeply");
    }
  }

  /**
   * The text that the template makes of variables.
   *
   * @throws TemplateException if the template says so, or fails
   */
  public String render(Map<String, JsonNode> variables) {
    return render(variables, MOST_TIME);
  }

  /** As {@link #render(Map)}, in at most that time. */
  String render(Map<String, JsonNode> variables, Duration most) {
    Map<String, Object> names = new HashMap<>(functions());
    try {
      variables.forEach((name, value) -> names.put(name, value(value)));
      return body.text(Scope.of(names, most));
    } catch (StackOverflowError e) {
      throw new TemplateException("its values are nested too deeply");
    }
  }

  private static Map<String, Object> functions() {
    Callable raise =
        given -> {
          throw new TemplateException(Values.string(given.require(0, "message")));
        };
    Callable namespace = given -> new Namespace(new LinkedHashMap<>(given.named()));
    Callable dict =
        given -> {
          Map<Object, Object> map =
              given.positional().isEmpty()
                  ? new LinkedHashMap<>()
                  : Values.map(Values.items(given.positional().getFirst()));
          map.putAll(given.named());
          return map;
        };
    Callable date = given -> date(Values.text(given.require(0, "format")));
    return Map.of(
        "raise_exception", raise,
        "namespace", namespace,
        "dict", dict,
        "range", (Callable) Template::range,
        "strftime_now", date);
  }

  private static Object range(Callable.Arguments given) {
    List<Object> bounds = given.of("start", "stop", "step").positional();
    if (bounds.isEmpty()) {
      throw new TemplateException("range has no bound");
    }
    long start = bounds.size() == 1 ? 0 : Values.whole(bounds.get(0));
    long stop = Values.whole(bounds.get(bounds.size() == 1 ? 0 : 1));
    long step = bounds.size() < 3 ? 1 : Values.whole(bounds.get(2));
    if (step == 0) {
      throw new TemplateException("the step of a range is zero");
    }
    List<Object> range = new ArrayList<>();
    for (long i = start; step > 0 ? i < stop : i > stop; i += step) {
      range.add(i);
      if (range.size() > MOST_ELEMENTS) {
        throw TemplateException.of("a range has more than %,d elements", MOST_ELEMENTS);
      }
    }
    return range;
  }

  /** {@link #TODAY} by a format of C's {@code strftime}, in English. */
  private static String date(String format) {
    return FIELD.matcher(format).replaceAll(field -> Matcher.quoteReplacement(date(field)));
  }

  private static String date(MatchResult field) {
    return switch (field.group()) {
      case "%d" -> pattern("dd");
      case "%m" -> pattern("MM");
      case "%y" -> pattern("uu");
      case "%Y" -> pattern("uuuu");
      case "%j" -> pattern("DDD");
      case "%F" -> pattern("uuuu-MM-dd");
      case "%b" -> name(ChronoField.MONTH_OF_YEAR, TextStyle.SHORT);
      case "%B" -> name(ChronoField.MONTH_OF_YEAR, TextStyle.FULL);
      case "%a" -> name(ChronoField.DAY_OF_WEEK, TextStyle.SHORT);
      case "%A" -> name(ChronoField.DAY_OF_WEEK, TextStyle.FULL);
      case "%H", "%M", "%S" -> "00";
      case "%%" -> "%";
      default -> throw TemplateException.of("'%s' of strftime is not supported", field.group());
    };
  }

  private static String pattern(String pattern) {
    return DateTimeFormatter.ofPattern(pattern, Locale.ROOT).format(TODAY);
  }

  private static String name(ChronoField field, TextStyle style) {
    return new DateTimeFormatterBuilder()
        .appendText(field, style)
        .toFormatter(Locale.ENGLISH)
        .format(TODAY);
  }

  /** A value of JSON as a value of Python. */
  private static Object value(JsonNode json) {
    return switch (json.getNodeType()) {
      case STRING -> json.textValue();
      case BOOLEAN -> json.booleanValue();
      case NUMBER ->
          json.isIntegralNumber() && json.canConvertToLong()
              ? (Object) json.longValue()
              : (Object) json.doubleValue();
      case ARRAY -> {
        List<Object> list = new ArrayList<>();
        json.forEach(element -> list.add(value(element)));
        yield list;
      }
      case OBJECT -> {
        Map<Object, Object> map = new LinkedHashMap<>();
        json.properties().forEach(entry -> map.put(entry.getKey(), value(entry.getValue())));
        yield map;
      }
      default -> None.NONE;
    };
  }
}
