package dev.laco.text.jinja;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Writes JSON as {@code json.dumps} of Python does, as the filter {@code tojson} has it. */
final class PythonJson {
  private final StringBuilder out = new StringBuilder();
  private final String step;
  private final boolean indents;
  private final boolean sorts;
  private final boolean ascii;

  private PythonJson(String step, boolean indents, boolean sorts, boolean ascii) {
    this.step = step;
    this.indents = indents;
    this.sorts = sorts;
    this.ascii = ascii;
  }

  /**
   * The JSON of a value.
   *
   * @param indent blanks of a level, each element then on a line of its own; below zero for one
   *     line
   */
  static String write(Object value, int indent, boolean sorts, boolean ascii) {
    PythonJson json =
        new PythonJson(" ".repeat(Math.clamp(indent, 0, 16)), indent >= 0, sorts, ascii);
    json.write(value, "\n");
    return json.out.toString();
  }

  private void write(Object value, String newline) {
    Values.requireRoom(out.length());
    switch (value) {
      case None _ -> out.append("null");
      case Boolean flag -> out.append(flag);
      case Double number ->
          out.append(Values.number(number).replace("inf", "Infinity").replace("nan", "NaN"));
      case String text -> quoted(text);
      case List<?> list -> elements(list, newline);
      case Map<?, ?> map -> entries(map, newline);
      case Long number -> out.append(number);
      case Undefined undefined -> throw undefined.error();
      default -> throw TemplateException.of("%s has no JSON", Values.type(value));
    }
  }

  private void elements(List<?> list, String newline) {
    String inner = newline + step;
    String next = "[";
    for (Object element : list) {
      out.append(next).append(indents ? inner : "");
      write(element, inner);
      next = indents ? "," : ", ";
    }
    out.append(list.isEmpty() ? "[" : indents ? newline : "").append(']');
  }

  private void entries(Map<?, ?> map, String newline) {
    String inner = newline + step;
    String next = "{";
    List<Map.Entry<?, ?>> entries = new ArrayList<>(map.entrySet());
    if (sorts) {
      entries.sort(Comparator.comparing(entry -> Values.string(entry.getKey())));
    }
    for (Map.Entry<?, ?> entry : entries) {
      out.append(next).append(indents ? inner : "");
      quoted(Values.string(entry.getKey()));
      out.append(": ");
      write(entry.getValue(), inner);
      next = indents ? "," : ", ";
    }
    out.append(map.isEmpty() ? "{" : indents ? newline : "").append('}');
  }

  private void quoted(String text) {
    out.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '"' -> out.append("\\\"");
        case '\\' -> out.append("\\\\");
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        case '\b' -> out.append("\\b");
        case '\f' -> out.append("\\f");
        default -> {
          if (c < ' ' || (ascii && c > '~')) {
            out.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
          } else {
            out.append(c);
          }
        }
      }
    }
    out.append('"');
  }
}
