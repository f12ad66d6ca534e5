package dev.laco.text.jinja;

import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/** The tests of {@code value is test}. */
final class Checks {
  /** A test. */
  interface Check {
    boolean holds(Object value, List<Object> arguments);
  }

  private static final Map<String, Check> ALL = new HashMap<>();

  static {
    plain("defined", value -> !(value instanceof Undefined));
    plain("undefined", Undefined.class::isInstance);
    plain("none", value -> value == None.NONE);
    plain("string", String.class::isInstance);
    plain("boolean", Boolean.class::isInstance);
    plain("true", Boolean.TRUE::equals);
    plain("false", Boolean.FALSE::equals);
    plain("integer", Long.class::isInstance);
    plain("float", Double.class::isInstance);
    plain("number", value -> value instanceof Number || value instanceof Boolean);
    plain("mapping", Map.class::isInstance);
    plain("sequence", Checks::isIterable);
    plain("iterable", Checks::isIterable);
    plain("callable", Callable.class::isInstance);
    plain("odd", value -> Math.floorMod(Values.whole(value), 2L) == 1);
    plain("even", value -> Math.floorMod(Values.whole(value), 2L) == 0);
    plain("lower", value -> Values.text(value).equals(Values.text(value).toLowerCase(Locale.ROOT)));
    plain("upper", value -> Values.text(value).equals(Values.text(value).toUpperCase(Locale.ROOT)));
    ALL.put(
        "divisibleby",
        (value, arguments) -> Values.equal(Values.arithmetic("%", value, first(arguments)), 0L));
    ALL.put("sameas", (value, arguments) -> value.equals(first(arguments)));
    compared("==", "==", "eq", "equalto");
    compared("!=", "!=", "ne");
    compared("<", "<", "lt", "lessthan");
    compared("<=", "<=", "le");
    compared(">", ">", "gt", "greaterthan");
    compared(">=", ">=", "ge");
    compared("in", "in");
  }

  private Checks() {}

  /** The test of this name, or null. */
  static @Nullable Check named(String name) {
    return ALL.get(name);
  }

  private static void plain(String name, Predicate<Object> check) {
    ALL.put(name, (value, arguments) -> check.test(value));
  }

  private static void compared(String operator, String... names) {
    for (String name : names) {
      ALL.put(name, (value, arguments) -> Values.holds(operator, value, first(arguments)));
    }
  }

  private static Object first(List<Object> arguments) {
    if (arguments.isEmpty()) {
      throw new TemplateException("a test has no argument");
    }
    return arguments.getFirst();
  }

  private static boolean isIterable(Object value) {
    return value instanceof String
        || value instanceof List<?>
        || value instanceof Map<?, ?>
        || value instanceof Undefined;
  }
}
