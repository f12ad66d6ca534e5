package dev.laco.text.jinja;

import dev.laco.text.jinja.Callable.Arguments;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.IntPredicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The methods of Python's strings, dicts and lists that change nothing. */
final class Methods {
  /** A method of a type. */
  private interface Method<T> {
    Object call(T of, Arguments arguments);
  }

  private static final Pattern WORD = Pattern.compile("[^\\s\\p{Z}]++");
  private static final Map<String, Method<String>> OF_STRINGS = new HashMap<>();
  private static final Map<String, Method<Map<?, ?>>> OF_DICTS = new HashMap<>();
  private static final Map<String, Method<List<?>>> OF_LISTS = new HashMap<>();

  static {
    OF_STRINGS.put("strip", (text, given) -> strip(text, characters(given), true, true));
    OF_STRINGS.put("lstrip", (text, given) -> strip(text, characters(given), true, false));
    OF_STRINGS.put("rstrip", (text, given) -> strip(text, characters(given), false, true));
    OF_STRINGS.put("upper", (text, given) -> text.toUpperCase(Locale.ROOT));
    OF_STRINGS.put("lower", (text, given) -> text.toLowerCase(Locale.ROOT));
    OF_STRINGS.put("title", (text, given) -> title(text));
    OF_STRINGS.put("capitalize", (text, given) -> capitalize(text));
    OF_STRINGS.put("startswith", (text, given) -> any(given).stream().anyMatch(text::startsWith));
    OF_STRINGS.put("endswith", (text, given) -> any(given).stream().anyMatch(text::endsWith));
    OF_STRINGS.put(
        "removeprefix",
        (text, given) -> {
          String prefix = Values.text(given.require(0, "prefix"));
          return text.startsWith(prefix) ? text.substring(prefix.length()) : text;
        });
    OF_STRINGS.put(
        "removesuffix",
        (text, given) -> {
          String suffix = Values.text(given.require(0, "suffix"));
          return text.endsWith(suffix) ? text.substring(0, text.length() - suffix.length()) : text;
        });
    OF_STRINGS.put("split", (text, given) -> split(text, given, false));
    OF_STRINGS.put("rsplit", (text, given) -> split(text, given, true));
    OF_STRINGS.put("splitlines", (text, given) -> lines(text));
    OF_STRINGS.put(
        "join",
        (text, given) -> {
          List<Object> parts = Values.elements(given.require(0, "iterable"));
          return joined(parts.stream().map(Values::text).toList(), text);
        });
    OF_STRINGS.put(
        "replace",
        (text, given) ->
            replace(
                text,
                Values.text(given.require(0, "old")),
                Values.text(given.require(1, "new")),
                Values.index(given.get(2, "count", -1L))));
    OF_STRINGS.put(
        "find", (text, given) -> place(text, text.indexOf(Values.text(given.require(0, "sub")))));
    OF_STRINGS.put(
        "rfind",
        (text, given) -> place(text, text.lastIndexOf(Values.text(given.require(0, "sub")))));
    OF_STRINGS.put(
        "count",
        (text, given) -> {
          String part = Values.text(given.require(0, "sub"));
          return part.isEmpty()
              ? Values.length(text) + 1
              : (long) pieces(text, part, Integer.MAX_VALUE).size() - 1;
        });
    OF_STRINGS.put("isdigit", (text, given) -> all(text, Character::isDigit));
    OF_STRINGS.put("isalpha", (text, given) -> all(text, Character::isLetter));
    OF_STRINGS.put("isalnum", (text, given) -> all(text, Character::isLetterOrDigit));
    OF_STRINGS.put("isspace", (text, given) -> all(text, Methods::isSpace));

    OF_DICTS.put("get", (map, given) -> get(map, given));
    OF_DICTS.put("keys", (map, given) -> Values.elements(map));
    OF_DICTS.put("values", (map, given) -> new ArrayList<Object>(map.values()));
    OF_DICTS.put("items", (map, given) -> Values.items(map));

    OF_LISTS.put(
        "count",
        (list, given) -> {
          Object wanted = given.require(0, "value");
          return list.stream().filter(element -> Values.equal(element, wanted)).count();
        });
    OF_LISTS.put(
        "index",
        (list, given) -> {
          Object wanted = given.require(0, "value");
          for (int i = 0; i < list.size(); i++) {
            if (Values.equal(list.get(i), wanted)) {
              return (long) i;
            }
          }
          throw new TemplateException("the list has no such element");
        });
  }

  private Methods() {}

  /** The method of a value, or null. */
  static @Nullable Callable of(Object value, String name) {
    return switch (value) {
      case String text -> bound(OF_STRINGS.get(name), text);
      case Map<?, ?> map -> bound(OF_DICTS.get(name), map);
      case List<?> list -> bound(OF_LISTS.get(name), list);
      default -> null;
    };
  }

  private static <T> @Nullable Callable bound(@Nullable Method<T> method, T of) {
    return method == null ? null : arguments -> method.call(of, arguments);
  }

  private static Object get(Map<?, ?> map, Arguments given) {
    Object value = map.get(given.require(0, "key"));
    return value == null ? given.get(1, "default", None.NONE) : value;
  }

  private static @Nullable String characters(Arguments given) {
    Object characters = given.find(0, "chars");
    return characters == null || characters == None.NONE ? null : Values.text(characters);
  }

  private static boolean isSpace(int character) {
    return Character.isWhitespace(character)
        || Character.isSpaceChar(character)
        || character == 0x85;
  }

  /** The text without such characters, or white space, at its ends. */
  static String strip(String text, @Nullable String characters, boolean front, boolean rear) {
    IntPredicate dropped =
        characters == null ? Methods::isSpace : character -> characters.indexOf(character) >= 0;
    int start = 0;
    int end = text.length();
    while (front && start < end && dropped.test(text.codePointAt(start))) {
      start += Character.charCount(text.codePointAt(start));
    }
    while (rear && end > start && dropped.test(text.codePointBefore(end))) {
      end -= Character.charCount(text.codePointBefore(end));
    }
    return text.substring(start, end);
  }

  static String capitalize(String text) {
    int first = text.isEmpty() ? 0 : Character.charCount(text.codePointAt(0));
    return text.substring(0, first).toUpperCase(Locale.ROOT)
        + text.substring(first).toLowerCase(Locale.ROOT);
  }

  static String title(String text) {
    StringBuilder title = new StringBuilder();
    boolean inside = false;
    for (int c : text.codePoints().toArray()) {
      title.appendCodePoint(inside ? Character.toLowerCase(c) : Character.toTitleCase(c));
      inside = Character.isLetter(c);
    }
    return title.toString();
  }

  private static List<String> any(Arguments given) {
    Object wanted = given.require(0, "prefix");
    return wanted instanceof List<?> list
        ? list.stream().map(Values::text).toList()
        : List.of(Values.text(wanted));
  }

  private static boolean all(String text, IntPredicate wanted) {
    return !text.isEmpty() && text.codePoints().allMatch(wanted);
  }

  /** The place of a character, counted in code points; -1 stays -1. */
  private static long place(String text, int index) {
    return index < 0 ? index : text.codePointCount(0, index);
  }

  private static Object split(String text, Arguments given, boolean fromRear) {
    Object separator = given.get(0, "sep", None.NONE);
    int most = Values.index(given.get(1, "maxsplit", -1L));
    int times = most < 0 ? Integer.MAX_VALUE : most;
    List<String> parts;
    if (separator == None.NONE) {
      parts = words(text, times, fromRear);
    } else {
      String by = Values.text(separator);
      if (by.isEmpty()) {
        throw new TemplateException("the separator is empty");
      }
      parts = fromRear ? rearPieces(text, by, times) : pieces(text, by, times);
    }
    return new ArrayList<Object>(parts);
  }

  private static Object lines(String text) {
    List<String> lines = pieces(text.replace("\r\n", "\n"), "\n", Integer.MAX_VALUE);
    int count = lines.getLast().isEmpty() ? lines.size() - 1 : lines.size();
    return new ArrayList<Object>(lines.subList(0, count));
  }

  /** Runs of characters that are no white space. */
  private static List<String> words(String text, int times, boolean fromRear) {
    List<String> words = new ArrayList<>();
    Matcher word = WORD.matcher(text);
    while (word.find()) {
      add(word.group(), words);
    }
    if (times < words.size() - 1) {
      throw new TemplateException(
          (fromRear ? "rsplit" : "split") + " of words with a maxsplit is not supported");
    }
    return words;
  }

  private static void add(String piece, List<String> pieces) {
    Values.requireRoom((long) Scope.ELEMENT * pieces.size());
    pieces.add(piece);
  }

  static List<String> pieces(String text, String by, int times) {
    List<String> pieces = new ArrayList<>();
    int start = 0;
    for (int i = 0; i < times; i++) {
      int end = text.indexOf(by, start);
      if (end < 0) {
        break;
      }
      add(text.substring(start, end), pieces);
      start = end + by.length();
    }
    pieces.add(text.substring(start));
    return pieces;
  }

  private static List<String> rearPieces(String text, String by, int times) {
    List<String> pieces = new ArrayList<>();
    int end = text.length();
    for (int i = 0; i < times; i++) {
      int start = text.lastIndexOf(by, end - by.length());
      if (start < 0) {
        break;
      }
      add(text.substring(start + by.length(), end), pieces);
      end = start;
    }
    pieces.add(text.substring(0, end));
    return pieces.reversed();
  }

  /** The text with the first {@code count} of a part replaced; below zero all of them. */
  static String replace(String text, String old, String by, int count) {
    if (old.isEmpty()) {
      throw new TemplateException("the text to replace is empty");
    }
    List<String> pieces = pieces(text, old, count < 0 ? Integer.MAX_VALUE : count);
    return joined(pieces, by);
  }

  static String joined(List<String> parts, String by) {
    long length = (long) by.length() * Math.max(0, parts.size() - 1);
    for (String part : parts) {
      length += part.length();
    }
    Values.requireRoom(length);
    return parts.stream().map(Objects::requireNonNull).collect(Collectors.joining(by));
  }
}
