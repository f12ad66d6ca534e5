package dev.laco.text.jinja;

import dev.laco.text.jinja.Callable.Arguments;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The filters of {@code value | filter}. */
final class Filters {
  /** A filter. */
  interface Filter {
    Object apply(Object value, Arguments arguments);
  }

  private static final Map<String, Filter> ALL = new HashMap<>();

  /** What {@code title} takes to be a word. */
  private static final Pattern WORD =
      Pattern.compile("[^-\\s({\\[<]+", Pattern.UNICODE_CHARACTER_CLASS);

  private static final Pattern UNDERSCORE = Pattern.compile("(?<=\\d)_(?=\\d)");

  /** Without backtracking, which would take the square of the time of a long text. */
  private static final Pattern DECIMAL =
      Pattern.compile("[+-]?(?:\\d++(?:\\.\\d*+)?|\\.\\d++)(?:[eE][+-]?\\d++)?");

  /** Most attributes that elements are sorted by. */
  private static final int MOST_ATTRIBUTES = 100;

  /** Prefixes of numbers of a base. */
  private static final Map<Integer, String> PREFIXES = Map.of(2, "0b", 8, "0o", 16, "0x");

  static {
    ofText("upper", text -> text.toUpperCase(Locale.ROOT));
    ofText("lower", text -> text.toLowerCase(Locale.ROOT));
    ofText("title", Filters::title);
    ofText("capitalize", Methods::capitalize);
    ofText("string", text -> text);
    ofText("safe", text -> text);
    ofText("escape", Filters::escaped);
    ofText("e", Filters::escaped);
    put(
        "trim",
        (value, given) ->
            Methods.strip(
                Values.string(value),
                given.find(0, "chars") instanceof String characters ? characters : null,
                true,
                true),
        "chars");
    put(
        "replace",
        (value, given) ->
            Methods.replace(
                Values.string(value),
                Values.string(given.require(0, "old")),
                Values.string(given.require(1, "new")),
                Values.index(given.get(2, "count", -1L))),
        "old",
        "new",
        "count");
    put("indent", Filters::indent, "width", "first", "blank");
    put("tojson", Filters::json, "ensure_ascii", "indent", "separators", "sort_keys");
    put("length", (value, given) -> Values.length(value));
    put("count", (value, given) -> Values.length(value));
    put("default", Filters::otherwise, "default_value", "boolean");
    put("d", Filters::otherwise, "default_value", "boolean");
    put("int", Filters::integer, "default", "base");
    put("float", Filters::decimal, "default");
    put("abs", (value, given) -> Values.compare(value, 0L) < 0 ? Values.negative(value) : value);
    put("round", Filters::round, "precision", "method");
    put("list", (value, given) -> new ArrayList<>(Values.elements(value)));
    put("items", (value, given) -> Values.items(value));
    put("dictsort", Filters::sortedItems, "case_sensitive", "by", "reverse");
    put("first", (value, given) -> end(Values.elements(value), "first"));
    put("last", (value, given) -> end(Values.elements(value).reversed(), "last"));
    put(
        "reverse",
        (value, given) ->
            value instanceof String text
                ? new StringBuilder(text).reverse().toString()
                : new ArrayList<>(Values.elements(value).reversed()));
    put("join", Filters::join, "d", "attribute");
    put("sort", Filters::sorted, "reverse", "case_sensitive", "attribute");
    put("unique", Filters::unique, "case_sensitive", "attribute");
    put("sum", Filters::sum, "attribute", "start");
    put("min", (value, given) -> most(value, given, -1), "case_sensitive", "attribute");
    put("max", (value, given) -> most(value, given, 1), "case_sensitive", "attribute");
    ALL.put("map", Filters::map);
    ALL.put("select", (value, given) -> selected(value, given, false, true));
    ALL.put("reject", (value, given) -> selected(value, given, false, false));
    ALL.put("selectattr", (value, given) -> selected(value, given, true, true));
    ALL.put("rejectattr", (value, given) -> selected(value, given, true, false));
  }

  private Filters() {}

  /** The filter of this name, or null. */
  static @Nullable Filter named(String name) {
    return ALL.get(name);
  }

  /** A filter that takes these arguments and no other. */
  private static void put(String name, Filter filter, String... arguments) {
    ALL.put(name, (value, given) -> filter.apply(value, given.of(arguments)));
  }

  private static void ofText(String name, Function<String, String> filter) {
    put(name, (value, given) -> filter.apply(Values.string(value)));
  }

  /** Capitals where words begin; letters behind an apostrophe or an underscore stay inside one. */
  private static String title(String text) {
    return WORD.matcher(text)
        .replaceAll(word -> Matcher.quoteReplacement(Methods.capitalize(word.group())));
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("'", "&#39;")
        .replace("\"", "&#34;");
  }

  private static Object indent(Object value, Arguments given) {
    Object width = given.get(0, "width", 4L);
    String margin =
        width instanceof String text ? text : " ".repeat(Math.clamp(Values.index(width), 0, 64));
    boolean first = Values.truth(given.get(1, "first", false));
    boolean blank = Values.truth(given.get(2, "blank", false));
    List<String> indented = new ArrayList<>();
    for (String line : Methods.pieces(Values.string(value), "\n", Integer.MAX_VALUE)) {
      boolean moves = indented.isEmpty() ? first : blank || !line.isEmpty();
      indented.add(moves ? margin + line : line);
    }
    return Methods.joined(indented, "\n");
  }

  private static Object json(Object value, Arguments given) {
    if (given.get(2, "separators", None.NONE) != None.NONE) {
      throw new TemplateException("separators of tojson are not supported");
    }
    Object indent = given.get(1, "indent", None.NONE);
    return PythonJson.write(
        value,
        indent == None.NONE ? -1 : Values.index(indent),
        Values.truth(given.get(3, "sort_keys", false)),
        Values.truth(given.get(0, "ensure_ascii", false)));
  }

  private static Object otherwise(Object value, Arguments given) {
    boolean missing =
        value instanceof Undefined
            || (Values.truth(given.get(1, "boolean", false)) && !Values.truth(value));
    return missing ? given.get(0, "default_value", "") : value;
  }

  private static Object integer(Object value, Arguments given) {
    Object otherwise = given.get(0, "default", 0L);
    return switch (value) {
      case Undefined undefined -> throw undefined.error();
      case Double number -> truncated(number, otherwise);
      case String text -> {
        Long number = whole(text.strip(), Values.index(given.get(1, "base", 10L)));
        yield number == null ? truncated(decimal(text), otherwise) : number;
      }
      case Long number -> number;
      case Boolean flag -> flag ? 1L : 0L;
      default -> otherwise;
    };
  }

  /** A number without its fraction; {@code otherwise} of what is no finite number. */
  private static Object truncated(@Nullable Double number, Object otherwise) {
    if (number == null || !Double.isFinite(number)) {
      return otherwise;
    }
    if (Math.abs(number) >= 0x1p63) {
      throw new TemplateException("a number is too large");
    }
    return number.longValue();
  }

  /** The whole number that a text is, or null. */
  private static @Nullable Long whole(String text, int base) {
    String prefix = PREFIXES.getOrDefault(base, "");
    String digits = UNDERSCORE.matcher(text).replaceAll("");
    try {
      return Long.valueOf(
          digits.regionMatches(true, 0, prefix, 0, prefix.length())
              ? digits.substring(prefix.length())
              : digits,
          base);
    } catch (NumberFormatException e) {
      return null;
    }
  }

  /** The number that a text is, or null. */
  private static @Nullable Double decimal(String text) {
    String number = UNDERSCORE.matcher(text.strip()).replaceAll("");
    if (DECIMAL.matcher(number).matches()) {
      return Double.valueOf(number);
    }
    return switch (number.toLowerCase(Locale.ROOT)) {
      case "inf", "+inf", "infinity", "+infinity" -> Double.POSITIVE_INFINITY;
      case "-inf", "-infinity" -> Double.NEGATIVE_INFINITY;
      case "nan", "+nan", "-nan" -> Double.NaN;
      default -> null;
    };
  }

  private static Object decimal(Object value, Arguments given) {
    Double number =
        switch (value) {
          case Undefined undefined -> throw undefined.error();
          case Number any -> Double.valueOf(any.doubleValue());
          case Boolean flag -> Double.valueOf(flag ? 1 : 0);
          case String text -> decimal(text);
          default -> null;
        };
    return number == null ? given.get(0, "default", 0.0) : number;
  }

  private static Object round(Object value, Arguments given) {
    if (!(value instanceof Number number)) {
      throw TemplateException.of("%s cannot be rounded", Values.type(value));
    }
    double scale = Math.pow(10, Values.index(given.get(0, "precision", 0L)));
    double scaled = number.doubleValue() * scale;
    return switch (Values.string(given.get(1, "method", "common"))) {
      case "ceil" -> Math.ceil(scaled) / scale;
      case "floor" -> Math.floor(scaled) / scale;
      case "common" -> Math.rint(scaled) / scale;
      default -> throw new TemplateException("the method of round is common, ceil or floor");
    };
  }

  private static Object end(List<Object> elements, String which) {
    return elements.isEmpty() ? new Undefined(which + " of nothing") : elements.getFirst();
  }

  private static Object join(Object value, Arguments given) {
    Object attribute = given.find(1, "attribute");
    List<String> parts =
        Values.elements(value).stream()
            .map(each -> attribute == null ? each : Attributes.path(each, attribute))
            .map(Values::string)
            .toList();
    return Methods.joined(parts, Values.string(given.get(0, "d", "")));
  }

  /** What an element is compared by: a text in small letters, unless case matters. */
  private static Object key(Object value, boolean caseMatters) {
    return value instanceof String text && !caseMatters ? text.toLowerCase(Locale.ROOT) : value;
  }

  /** The same of an attribute of the element; {@link None} stands for the element itself. */
  private static Object key(Object each, Object attribute, boolean caseMatters) {
    return key(attribute == None.NONE ? each : Attributes.path(each, attribute), caseMatters);
  }

  /** The elements in order, by one attribute or several with commas between them. */
  private static Object sorted(Object value, Arguments given) {
    boolean caseMatters = Values.truth(given.get(1, "case_sensitive", false));
    Object attribute = given.get(2, "attribute", None.NONE);
    List<Object> attributes =
        attribute instanceof String names
            ? new ArrayList<>(Methods.pieces(names, ",", Integer.MAX_VALUE))
            : List.of(attribute);
    if (attributes.size() > MOST_ATTRIBUTES) {
      throw TemplateException.of("sort is by at most %d attributes", MOST_ATTRIBUTES);
    }
    return sorted(
        Values.elements(value),
        each -> attributes.stream().map(name -> key(each, name, caseMatters)).toList(),
        Values.truth(given.get(0, "reverse", false)));
  }

  private static Object sortedItems(Object value, Arguments given) {
    boolean caseMatters = Values.truth(given.get(0, "case_sensitive", false));
    String by = Values.text(given.get(1, "by", "key"));
    if (!by.equals("key") && !by.equals("value")) {
      throw new TemplateException("dictsort is by 'key' or 'value'");
    }
    long place = by.equals("key") ? 0 : 1;
    return sorted(
        Values.items(value),
        item -> key(item, place, caseMatters),
        Values.truth(given.get(2, "reverse", false)));
  }

  private static Object sorted(
      List<Object> elements, Function<Object, Object> key, boolean reverse) {
    record Keyed(Object key, Object element) {}
    Comparator<Keyed> order = Comparator.comparing(Keyed::key, Values::compare);
    return elements.stream()
        .map(element -> new Keyed(key.apply(element), element))
        .sorted(reverse ? order.reversed() : order)
        .map(Keyed::element)
        .collect(Collectors.toCollection(ArrayList::new));
  }

  private static Object unique(Object value, Arguments given) {
    boolean caseMatters = Values.truth(given.get(0, "case_sensitive", false));
    Object attribute = given.get(1, "attribute", None.NONE);
    List<Object> keys = new ArrayList<>();
    List<Object> unique = new ArrayList<>();
    for (Object element : Values.elements(value)) {
      Object key = key(element, attribute, caseMatters);
      if (!Values.contains(keys, key)) {
        keys.add(key);
        unique.add(element);
      }
    }
    return unique;
  }

  private static Object sum(Object value, Arguments given) {
    Object attribute = given.find(0, "attribute");
    Object sum = given.get(1, "start", 0L);
    for (Object each : Values.elements(value)) {
      sum =
          Values.arithmetic("+", sum, attribute == null ? each : Attributes.path(each, attribute));
    }
    return sum;
  }

  private static Object most(Object value, Arguments given, int sign) {
    boolean caseMatters = Values.truth(given.get(0, "case_sensitive", false));
    Object attribute = given.get(1, "attribute", None.NONE);
    Comparator<Object> order =
        Comparator.comparing(each -> key(each, attribute, caseMatters), Values::compare);
    return Values.elements(value).stream()
        .max(sign < 0 ? order.reversed() : order)
        .orElseGet(() -> new Undefined("most of nothing"));
  }

  /** Of each element an attribute, or what a filter makes of it. */
  private static Object map(Object value, Arguments given) {
    Object attribute = given.named().get("attribute");
    List<Object> elements = Values.elements(value);
    if (attribute != null && given.positional().isEmpty()) {
      given.of("attribute", "default");
      Object otherwise = given.named().get("default");
      return elements.stream()
          .map(each -> Attributes.path(each, attribute))
          .map(each -> each instanceof Undefined && otherwise != null ? otherwise : each)
          .collect(Collectors.toCollection(ArrayList::new));
    }
    String name = Values.text(given.require(0, "filter"));
    Filter filter = named(name);
    if (filter == null) {
      throw TemplateException.of("there is no filter '%s'", name);
    }
    Arguments rest =
        new Arguments(given.positional().subList(1, given.positional().size()), given.named());
    return elements.stream()
        .map(each -> filter.apply(each, rest))
        .collect(Collectors.toCollection(ArrayList::new));
  }

  /** The elements that pass a test, or fail it; of the elements an attribute is tested. */
  private static Object selected(
      Object value, Arguments given, boolean byAttribute, boolean passing) {
    given.ofPlaces();
    List<Object> rest = given.positional();
    Object attribute = byAttribute ? given.require(0, "attribute") : None.NONE;
    int next = byAttribute ? 1 : 0;
    Predicate<Object> passes = Values::truth;
    if (rest.size() > next) {
      String name = Values.text(rest.get(next));
      Checks.Check check = Checks.named(name);
      if (check == null) {
        throw TemplateException.of("there is no test '%s'", name);
      }
      List<Object> arguments = rest.subList(next + 1, rest.size());
      passes = each -> check.holds(each, arguments);
    }
    Predicate<Object> wanted = passes;
    return Values.elements(value).stream()
        .filter(
            each -> wanted.test(byAttribute ? Attributes.path(each, attribute) : each) == passing)
        .collect(Collectors.toCollection(ArrayList::new));
  }
}
