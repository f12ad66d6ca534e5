package dev.laco.text.jinja;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What {@code value.name} and {@code value[key]} give. */
final class Attributes {
  private Attributes() {}

  /** {@code value.name}: a method, or else the element of that name. */
  static Object attribute(Object value, String name) {
    if (value instanceof Undefined undefined) {
      throw undefined.error();
    }
    Callable method = Methods.of(value, name);
    if (method != null) {
      return method;
    }
    Object element = find(value, name);
    return element == null ? new Undefined(name) : element;
  }

  /** {@code value[key]}: the element, or else the method of that name. */
  static Object element(Object value, Object key) {
    if (value instanceof Undefined undefined) {
      throw undefined.error();
    }
    Object element = find(value, key);
    if (element == null && key instanceof String name) {
      element = Methods.of(value, name);
    }
    return element == null ? new Undefined(Values.string(key)) : element;
  }

  private static @Nullable Object find(Object value, Object key) {
    return switch (value) {
      case Map<?, ?> map -> map.get(key);
      case Namespace space -> key instanceof String ? space.names().get(key) : null;
      case List<?> list -> key instanceof Long index ? at(list, index) : null;
      case String text -> key instanceof Long index ? character(text, index) : null;
      default -> null;
    };
  }

  private static @Nullable Object at(List<?> list, long index) {
    long place = index < 0 ? index + list.size() : index;
    return place >= 0 && place < list.size() ? list.get((int) place) : null;
  }

  private static @Nullable String character(String text, long index) {
    long place = index < 0 ? index + Values.length(text) : index;
    if (place < 0 || place >= Values.length(text)) {
      return null;
    }
    return Character.toString(text.codePointAt(text.offsetByCodePoints(0, (int) place)));
  }

  /** The value behind a path of names and numbers, {@code function.name}. */
  static Object path(Object value, Object path) {
    if (!(path instanceof String names)) {
      return element(value, path);
    }
    Object reached = value;
    for (String name : names.split("\\.", -1)) {
      boolean number = !name.isEmpty() && name.chars().allMatch(c -> c >= '0' && c <= '9');
      reached = element(reached, number && name.length() < 10 ? (Object) Long.valueOf(name) : name);
    }
    return reached;
  }
}
