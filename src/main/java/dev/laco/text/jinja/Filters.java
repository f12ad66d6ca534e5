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
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The filters of {@code value | filter}. */
final class Filters {
  /** A filter. */
  interface Filter {
    Object apply(Object value, Arguments arguments);
  }

  private static final Map<String, Filter> ALL = new HashMap<>();

  static {
    ofText("upper", text -> text.toUpperCase(Locale.ROOT));
    ofText("lower", text -> text.toLowerCase(Locale.ROOT));
    ofText("title", Methods::title);
    ofText("capitalize", Methods::capitalize);
    ofText("string", text -> text);
    ofText("safe", text -> text);
    ofText("escape", Filters::escaped);
    ofText("e", Filters::escaped);
    ALL.put(
        "trim",
        (value, given) ->
            Methods.strip(
                Values.string(value),
                given.find(0, "chars") instanceof String characters ? characters : null,
                true,
                true));
    ALL.put(
        "replace",
        (value, given) ->
            Methods.replace(
                Values.string(value),
                Values.string(given.require(0, "old")),
                Values.string(given.require(1, "new")),
                Values.index(given.get(2, "count", -1L))));
    ALL.put("indent", Filters::indent);
    ALL.put("tojson", Filters::json);
    ALL.put("length", (value, given) -> Values.length(value));
    ALL.put("count", (value, given) -> Values.length(value));
    ALL.put("default", Filters::otherwise);
    ALL.put("d", Filters::otherwise);
    ALL.put("int", Filters::integer);
    ALL.put("float", Filters::decimal);
    ALL.put(
        "abs", (value, given) -> Values.compare(value, 0L) < 0 ? Values.negative(value) : value);
    ALL.put("round", Filters::round);
    ALL.put("list", (value, given) -> new ArrayList<>(Values.elements(value)));
    ALL.put("items", (value, given) -> Values.items(value));
    ALL.put("dictsort", (value, given) -> sorted(Values.items(value), given, 0L));
    ALL.put("first", (value, given) -> end(Values.elements(value), "first"));
    ALL.put("last", (value, given) -> end(Values.elements(value).reversed(), "last"));
    ALL.put(
        "reverse",
        (value, given) ->
            value instanceof String text
                ? new StringBuilder(text).reverse().toString()
                : new ArrayList<>(Values.elements(value).reversed()));
    ALL.put("join", Filters::join);
    ALL.put("sort", (value, given) -> sorted(Values.elements(value), given, null));
    ALL.put("unique", (value, given) -> unique(Values.elements(value)));
    ALL.put("sum", Filters::sum);
    ALL.put("min", (value, given) -> most(Values.elements(value), -1));
    ALL.put("max", (value, given) -> most(Values.elements(value), 1));
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

  private static void ofText(String name, Function<String, String> filter) {
    ALL.put(name, (value, given) -> filter.apply(Values.string(value)));
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("'", "&#39;")
        .replace("\"", "&#34;");
  }

  private static Object indent(Object value, Arguments given) {
    given.of("width", "first", "blank");
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
    given.of("ensure_ascii", "indent", "separators", "sort_keys");
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
    given.of("default_value", "boolean");
    boolean missing =
        value instanceof Undefined
            || (Values.truth(given.get(1, "boolean", false)) && !Values.truth(value));
    return missing ? given.get(0, "default_value", "") : value;
  }

  private static Object integer(Object value, Arguments given) {
    return switch (value) {
      case Double number -> number.longValue();
      case String text -> {
        try {
          yield Long.parseLong(text.strip());
        } catch (NumberFormatException e) {
          yield given.get(0, "default", 0L);
        }
      }
      case Long number -> number;
      case Boolean flag -> flag ? 1L : 0L;
      default -> given.get(0, "default", 0L);
    };
  }

  private static Object decimal(Object value, Arguments given) {
    try {
      return switch (value) {
        case Number number -> number.doubleValue();
        case String text -> Double.parseDouble(text.strip());
        default -> given.get(0, "default", 0.0);
      };
    } catch (NumberFormatException e) {
      return given.get(0, "default", 0.0);
    }
  }

  private static Object round(Object value, Arguments given) {
    given.of("precision", "method");
    if (!(value instanceof Number number)) {
      throw TemplateException.of("%s cannot be rounded", Values.type(value));
    }
    double scale = Math.pow(10, Values.index(given.get(0, "precision", 0L)));
    double scaled = number.doubleValue() * scale;
    return switch (Values.string(given.get(1, "method", "common"))) {
      case "ceil" -> Math.ceil(scaled) / scale;
      case "floor" -> Math.floor(scaled) / scale;
      default -> Math.rint(scaled) / scale;
    };
  }

  private static Object end(List<Object> elements, String which) {
    return elements.isEmpty() ? new Undefined(which + " of nothing") : elements.getFirst();
  }

  private static Object join(Object value, Arguments given) {
    given.of("d", "attribute");
    Object attribute = given.find(1, "attribute");
    List<String> parts =
        Values.elements(value).stream()
            .map(each -> attribute == null ? each : Attributes.path(each, attribute))
            .map(Values::string)
            .toList();
    return Methods.joined(parts, Values.string(given.get(0, "d", "")));
  }

  /** The elements in order, by an attribute where one is named. */
  private static Object sorted(List<Object> elements, Arguments given, @Nullable Object key) {
    Object attribute = given.named().getOrDefault("attribute", key == null ? None.NONE : key);
    Comparator<Object> order =
        Comparator.comparing(
            each -> attribute == None.NONE ? each : Attributes.path(each, attribute),
            (left, right) ->
                left instanceof String one && right instanceof String other
                    ? one.toLowerCase(Locale.ROOT).compareTo(other.toLowerCase(Locale.ROOT))
                    : Values.compare(left, right));
    boolean reverse = Values.truth(given.named().getOrDefault("reverse", false));
    List<Object> sorted = new ArrayList<>(elements);
    sorted.sort(reverse ? order.reversed() : order);
    return sorted;
  }

  private static Object unique(List<Object> elements) {
    List<Object> unique = new ArrayList<>();
    for (Object element : elements) {
      if (!Values.contains(unique, element)) {
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

  private static Object most(List<Object> elements, int sign) {
    return elements.stream()
        .max((left, right) -> sign * Values.compare(left, right))
        .orElseGet(() -> new Undefined("most of nothing"));
  }

  /** Of each element an attribute, or what a filter makes of it. */
  private static Object map(Object value, Arguments given) {
    Object attribute = given.named().get("attribute");
    List<Object> elements = Values.elements(value);
    if (attribute != null) {
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
