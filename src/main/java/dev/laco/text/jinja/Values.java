package dev.laco.text.jinja;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * Python's operations on values. A value is {@link None}, an {@link Undefined}, {@code Boolean},
 * {@code Long}, {@code Double}, {@code String}, {@code List}, {@code Map} or {@link Callable}.
 * Strings are counted and cut by code points, as in Python.
 */
final class Values {
  /** The most characters of a string and elements of a list that an operation makes. */
  static final int MOST = 16 << 20;

  private Values() {}

  static String type(Object value) {
    return switch (value) {
      case None _ -> "None";
      case Undefined _ -> "undefined";
      case Boolean _ -> "bool";
      case Long _ -> "int";
      case Double _ -> "float";
      case String _ -> "str";
      case List<?> _ -> "list";
      case Map<?, ?> _ -> "dict";
      default -> "function";
    };
  }

  static boolean truth(Object value) {
    return switch (value) {
      case None _ -> false;
      case Undefined _ -> false;
      case Boolean flag -> flag;
      case Long number -> number != 0;
      case Double number -> number != 0;
      case String text -> !text.isEmpty();
      case List<?> list -> !list.isEmpty();
      case Map<?, ?> map -> !map.isEmpty();
      default -> true;
    };
  }

  /** The value as text, {@code str()} of Python. */
  static String string(Object value) {
    return switch (value) {
      case String text -> text;
      case Undefined _ -> "";
      default -> show(value);
    };
  }

  /** The value as Python source, {@code repr()}. */
  private static String show(Object value) {
    StringBuilder out = new StringBuilder();
    show(value, out);
    return out.toString();
  }

  private static void show(Object value, StringBuilder out) {
    requireRoom(out.length());
    switch (value) {
      case None _ -> out.append("None");
      case Undefined _ -> out.append("Undefined");
      case Boolean flag -> out.append(flag ? "True" : "False");
      case Double number -> out.append(number(number));
      case String text -> out.append(quoted(text));
      case List<?> list -> {
        String before = "[";
        for (Object element : list) {
          out.append(before);
          show(element, out);
          before = ", ";
        }
        out.append(list.isEmpty() ? "[]" : "]");
      }
      case Map<?, ?> map -> {
        String before = "{";
        for (Map.Entry<?, ?> entry : map.entrySet()) {
          out.append(before);
          show(entry.getKey(), out);
          out.append(": ");
          show(entry.getValue(), out);
          before = ", ";
        }
        out.append(map.isEmpty() ? "{}" : "}");
      }
      case Long number -> out.append(number);
      default -> out.append("<").append(type(value)).append(">");
    }
  }

  /** A number as Python writes it. */
  static String number(double number) {
    if (Double.isNaN(number)) {
      return "nan";
    }
    if (Double.isInfinite(number)) {
      return number > 0 ? "inf" : "-inf";
    }
    String digits = Double.toString(number);
    int power = digits.indexOf('E');
    if (power < 0) {
      return digits;
    }
    int exponent = Integer.parseInt(digits.substring(power + 1));
    if (exponent >= -4 && exponent < 16) {
      String plain = new BigDecimal(digits).stripTrailingZeros().toPlainString();
      return plain.contains(".") ? plain : plain + ".0";
    }
    String mantissa = digits.substring(0, power).replaceFirst("\\.0$", "");
    return mantissa
        + (exponent < 0 ? "e-" : "e+")
        + (Math.abs(exponent) < 10 ? "0" : "")
        + Math.abs(exponent);
  }

  private static String quoted(String text) {
    char quote = text.contains("'") && !text.contains("\"") ? '"' : '\'';
    StringBuilder quoted = new StringBuilder().append(quote);
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '\n' -> quoted.append("\\n");
        case '\r' -> quoted.append("\\r");
        case '\t' -> quoted.append("\\t");
        case '\\' -> quoted.append("\\\\");
        default -> {
          if (c == quote) {
            quoted.append('\\').append(c);
          } else if (c < ' ' || c == 0x7f) {
            quoted.append(String.format(Locale.ROOT, "\\x%02x", (int) c));
          } else {
            quoted.append(c);
          }
        }
      }
    }
    return quoted.append(quote).toString();
  }

  static boolean equal(Object left, Object right) {
    if (isNumber(left) && isNumber(right)) {
      return (left instanceof Double || right instanceof Double)
          ? decimal(left) == decimal(right)
          : whole(left) == whole(right);
    }
    if (left instanceof List<?> some && right instanceof List<?> others) {
      if (some.size() != others.size()) {
        return false;
      }
      for (int i = 0; i < some.size(); i++) {
        if (!equal(some.get(i), others.get(i))) {
          return false;
        }
      }
      return true;
    }
    return left instanceof Undefined ? right instanceof Undefined : left.equals(right);
  }

  static int compare(Object left, Object right) {
    if (isNumber(left) && isNumber(right)) {
      return Double.compare(decimal(left), decimal(right));
    }
    if (left instanceof String one && right instanceof String other) {
      return one.compareTo(other);
    }
    if (left instanceof List<?> some && right instanceof List<?> others) {
      for (int i = 0; i < Math.min(some.size(), others.size()); i++) {
        if (!equal(some.get(i), others.get(i))) {
          return compare(some.get(i), others.get(i));
        }
      }
      return Integer.compare(some.size(), others.size());
    }
    throw unusable("compare", left, right);
  }

  /** Whether {@code left operator right} is true, of a comparison. */
  static boolean holds(String operator, Object left, Object right) {
    return switch (operator) {
      case "==" -> equal(left, right);
      case "!=" -> !equal(left, right);
      case "<" -> compare(left, right) < 0;
      case "<=" -> compare(left, right) <= 0;
      case ">" -> compare(left, right) > 0;
      case ">=" -> compare(left, right) >= 0;
      case "in" -> contains(right, left);
      default -> !contains(right, left);
    };
  }

  private static boolean isNumber(Object value) {
    return value instanceof Number || value instanceof Boolean;
  }

  private static double decimal(Object value) {
    return value instanceof Boolean flag ? (flag ? 1 : 0) : ((Number) value).doubleValue();
  }

  /** A number without a fraction; {@code True} is 1. */
  static long whole(Object value) {
    return switch (value) {
      case Long number -> number;
      case Boolean flag -> flag ? 1 : 0;
      case Undefined undefined -> throw undefined.error();
      default -> throw TemplateException.of("an int is expected, not %s", type(value));
    };
  }

  static int index(Object value) {
    return Math.clamp(whole(value), -MOST, MOST);
  }

  static String text(Object value) {
    return switch (value) {
      case String text -> text;
      case Undefined undefined -> throw undefined.error();
      default -> throw TemplateException.of("a str is expected, not %s", type(value));
    };
  }

  private static TemplateException unusable(String what, Object left, Object right) {
    for (Object side : new Object[] {left, right}) {
      if (side instanceof Undefined undefined) {
        return undefined.error();
      }
    }
    return TemplateException.of("cannot %s %s and %s", what, type(left), type(right));
  }

  /** The value of {@code left operator right}. */
  static Object arithmetic(String operator, Object left, Object right) {
    if (operator.equals("+") && left instanceof String one && right instanceof String other) {
      requireRoom((long) one.length() + other.length());
      return one + other;
    }
    if (operator.equals("+") && left instanceof List<?> some && right instanceof List<?> others) {
      requireRoom((long) some.size() + others.size());
      List<Object> both = new ArrayList<>(some);
      both.addAll(others);
      return both;
    }
    if (operator.equals("*") && left instanceof Long && !isNumber(right)) {
      return arithmetic("*", right, left);
    }
    if (operator.equals("*") && right instanceof Long times) {
      // One more than there is room for is enough to say so.
      int count = Math.clamp(times, 0, MOST + 1);
      if (left instanceof String text) {
        requireRoom((long) count * text.length());
        return text.isEmpty() ? text : text.repeat(count);
      }
      if (left instanceof List<?> list) {
        requireRoom((long) count * list.size());
        List<Object> repeated = new ArrayList<>();
        if (!list.isEmpty()) {
          Collections.nCopies(count, list).forEach(repeated::addAll);
        }
        return repeated;
      }
    }
    if (!isNumber(left) || !isNumber(right)) {
      throw unusable("use '" + operator + "' with", left, right);
    }
    boolean decimals = left instanceof Double || right instanceof Double;
    try {
      return decimals || operator.equals("/")
          ? (Object) decimals(operator, decimal(left), decimal(right))
          : (Object) integers(operator, whole(left), whole(right));
    } catch (ArithmeticException e) {
      throw TemplateException.of("a number is too large, or divided by zero");
    }
  }

  private static double decimals(String operator, double left, double right) {
    if (right == 0 && "/ // %".contains(operator)) {
      throw new ArithmeticException();
    }
    return switch (operator) {
      case "+" -> left + right;
      case "-" -> left - right;
      case "*" -> left * right;
      case "/" -> left / right;
      case "//" -> Math.floor(left / right);
      case "%" -> left - right * Math.floor(left / right);
      default -> Math.pow(left, right);
    };
  }

  private static long integers(String operator, long left, long right) {
    return switch (operator) {
      case "+" -> Math.addExact(left, right);
      case "-" -> Math.subtractExact(left, right);
      case "*" -> Math.multiplyExact(left, right);
      case "//" -> Math.floorDivExact(left, right);
      case "%" -> Math.floorMod(left, right);
      default -> power(left, right);
    };
  }

  private static long power(long base, long exponent) {
    if (exponent < 0) {
      throw new TemplateException("a power below zero is not supported");
    }
    if (base == 0 || base == 1 || base == -1) {
      return exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base;
    }
    long power = 1;
    for (long i = 0; i < exponent; i++) {
      power = Math.multiplyExact(power, base);
    }
    return power;
  }

  static Object negative(Object value) {
    return arithmetic("-", 0L, value);
  }

  static boolean contains(Object all, Object one) {
    return switch (all) {
      case String text -> text.contains(text(one));
      case List<?> list -> list.stream().anyMatch(element -> equal(element, one));
      case Map<?, ?> map -> map.containsKey(one);
      case Undefined _ -> false;
      default -> throw TemplateException.of("there is no 'in' for %s", type(all));
    };
  }

  static long length(Object value) {
    return switch (value) {
      case String text -> text.codePointCount(0, text.length());
      case List<?> list -> list.size();
      case Map<?, ?> map -> map.size();
      case Undefined _ -> 0;
      default -> throw TemplateException.of("%s has no length", type(value));
    };
  }

  /** The elements of a list, the characters of a string, the keys of a dict. */
  static List<Object> elements(Object value) {
    return switch (value) {
      case List<?> list -> Collections.unmodifiableList(list);
      case Map<?, ?> map -> new ArrayList<>(map.keySet());
      case String text -> {
        requireRoom((long) Scope.ELEMENT * text.length());
        yield text.codePoints().mapToObj(c -> (Object) Character.toString(c)).toList();
      }
      case Undefined _ -> List.of();
      default -> throw TemplateException.of("%s cannot be iterated", type(value));
    };
  }

  /** Entries as lists of key and value. */
  static List<Object> items(Object value) {
    if (value instanceof Undefined) {
      return List.of();
    }
    if (!(value instanceof Map<?, ?> map)) {
      throw TemplateException.of("%s has no items", type(value));
    }
    return map.entrySet().stream()
        .map(entry -> (Object) List.<Object>of(entry.getKey(), entry.getValue()))
        .toList();
  }

  static Map<Object, Object> map(List<Object> items) {
    Map<Object, Object> map = new LinkedHashMap<>();
    for (Object item : items) {
      List<Object> pair = elements(item);
      if (pair.size() != 2) {
        throw new TemplateException("a dict is made of pairs");
      }
      map.put(key(pair.getFirst()), pair.getLast());
    }
    return map;
  }

  /** A value that may be the key of a dict. */
  static Object key(Object value) {
    if (value instanceof List<?> || value instanceof Map<?, ?>) {
      throw TemplateException.of("%s cannot be a key", type(value));
    }
    return value;
  }

  /** {@code value[from:to:step]}; a bound that is not given is {@link None}. */
  static Object slice(Object value, Object from, Object to, Object step) {
    if (value instanceof Undefined undefined) {
      throw undefined.error();
    }
    if (!(value instanceof String) && !(value instanceof List<?>)) {
      throw TemplateException.of("%s cannot be cut", type(value));
    }
    int by = step == None.NONE ? 1 : index(step);
    if (by == 0) {
      throw new TemplateException("the step of a slice is zero");
    }
    int size = (int) length(value);
    int least = by > 0 ? 0 : -1;
    int most = by > 0 ? size : size - 1;
    int start = from == None.NONE ? (by > 0 ? least : most) : bound(index(from), size, least, most);
    int end = to == None.NONE ? (by > 0 ? most : least) : bound(index(to), size, least, most);
    if (value instanceof String text && by == 1) {
      int first = text.offsetByCodePoints(0, start);
      return text.substring(first, text.offsetByCodePoints(first, Math.max(0, end - start)));
    }
    List<Object> all = elements(value);
    List<Object> some = new ArrayList<>();
    for (int i = start; by > 0 ? i < end : i > end; i += by) {
      some.add(all.get(i));
    }
    return value instanceof String
        ? some.stream().map(String.class::cast).collect(Collectors.joining())
        : some;
  }

  private static int bound(int index, int size, int least, int most) {
    return Math.clamp(index < 0 ? index + (long) size : index, least, most);
  }

  static void requireRoom(long size) {
    if (size > MOST) {
      throw TemplateException.of("a value would have more than %,d characters or elements", MOST);
    }
  }
}
