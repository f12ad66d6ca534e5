package dev.laco.text.jinja;

import dev.laco.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Cuts a template into tokens, with the settings of transformers: {@code trim_blocks} (the newline
 * behind a statement or comment is dropped) and {@code lstrip_blocks} (so are the blanks between
 * the beginning of a line and a statement or comment).
 */
final class Lexer {
  private static final Pattern BEGIN = Pattern.compile("\\{[{%#]");
  private static final Pattern RAW = Pattern.compile("\\{%[-+]?\\s*raw\\s*(-?)%\\}(\\n?)");
  private static final Pattern END_RAW =
      Pattern.compile("\\{%([-+]?)\\s*endraw\\s*([-+]?)%\\}(\\n?)");
  private static final Pattern STRING =
      Pattern.compile("'((?:[^'\\\\]|\\\\.)*+)'|\"((?:[^\"\\\\]|\\\\.)*+)\"", Pattern.DOTALL);
  private static final Pattern NUMBER =
      Pattern.compile(
          "([0-9][0-9_]*+)(\\.[0-9][0-9_]*+)?([eE][-+]?[0-9]++)?", Pattern.UNICODE_CHARACTER_CLASS);
  private static final Pattern NAME = Pattern.compile("[\\p{L}_][\\p{L}\\p{N}_]*+");
  private static final Pattern OPERATOR =
      Pattern.compile("//|\\*\\*|==|!=|<=|>=|[-+*/%~<>=.:|,()\\[\\]{}]");
  private static final Pattern ESCAPE =
      Pattern.compile(
          "\\\\(?:\\n|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))",
          Pattern.DOTALL);

  private final String source;
  private final List<Token> tokens = new ArrayList<>();
  private int position;
  private int line = 1;

  private Lexer(String source) {
    this.source = source;
  }

  /** The tokens of a template, the last of which is of {@link Kind#END}. */
  static List<Token> tokens(String template) {
    String source = template.replace("\r\n", "\n").replace('\r', '\n');
    if (source.endsWith("\n")) {
      source = source.substring(0, source.length() - 1);
    }
    Lexer lexer = new Lexer(source);
    lexer.run();
    return lexer.tokens;
  }

  private void run() {
    Matcher begin = BEGIN.matcher(source);
    while (begin.find(position)) {
      int at = begin.start();
      char kind = source.charAt(at + 1);
      char sign = at + 2 < source.length() ? source.charAt(at + 2) : ' ';
      text(at, kind != '{', sign);
      switch (kind) {
        case '#' -> comment();
        case '{' -> tag(Kind.OUTPUT_BEGIN, Kind.OUTPUT_END, "}}", sign == '-');
        default -> {
          if (!raw()) {
            tag(Kind.STATEMENT_BEGIN, Kind.STATEMENT_END, "%}", sign == '-' || sign == '+');
          }
        }
      }
    }
    add(Kind.TEXT, source.substring(position));
    moveTo(source.length());
    add(Kind.END, "");
  }

  /** Adds the text up to {@code end}, where a tag begins, and moves there. */
  private void text(int end, boolean stripsBlanks, char sign) {
    String text = source.substring(position, end);
    if (sign == '-') {
      text = text.stripTrailing();
    } else if (stripsBlanks && sign != '+') {
      int start = text.lastIndexOf('\n') + 1;
      boolean beginsLine = start > 0 || position == 0 || source.charAt(position - 1) == '\n';
      if (beginsLine && text.substring(start).isBlank()) {
        text = text.substring(0, start);
      }
    }
    add(Kind.TEXT, text);
    moveTo(end);
  }

  private void comment() {
    int end = source.indexOf("#}", position + 2);
    if (end < 0) {
      throw new TemplateException("a comment has no end").at(line);
    }
    char sign = source.charAt(end - 1);
    moveTo(end + 2);
    behindTag(sign, true);
  }

  /** Drops what is dropped behind a tag that ends with a sign. */
  private void behindTag(char sign, boolean dropsNewline) {
    int end = position;
    if (sign == '-') {
      while (end < source.length() && Character.isWhitespace(source.charAt(end))) {
        end++;
      }
    } else if (dropsNewline && sign != '+' && source.startsWith("\n", end)) {
      end++;
    }
    moveTo(end);
  }

  /** Adds the text of a {@code raw} statement; false where another statement begins. */
  private boolean raw() {
    Matcher begin = RAW.matcher(source).region(position, source.length());
    if (!begin.lookingAt()) {
      return false;
    }
    Matcher end = END_RAW.matcher(source);
    if (!end.find(begin.end())) {
      throw new TemplateException("'raw' has no 'endraw'").at(line);
    }
    String text = source.substring(begin.end(), end.start());
    if (begin.group(1).equals("-")) {
      text = text.stripLeading();
    }
    if (end.group(1).equals("-")) {
      text = text.stripTrailing();
    }
    add(Kind.TEXT, text);
    moveTo(end.start(3));
    behindTag(end.group(2).isEmpty() ? ' ' : end.group(2).charAt(0), true);
    return true;
  }

  /** Adds the tokens from the beginning of a tag to its end. */
  private void tag(Kind begin, Kind end, String close, boolean signed) {
    add(begin, source.substring(position, position + 2));
    moveTo(position + (signed ? 3 : 2));
    int open = 0;
    while (true) {
      while (position < source.length() && Character.isWhitespace(source.charAt(position))) {
        moveTo(position + 1);
      }
      if (position == source.length()) {
        throw new TemplateException("'" + close + "' is missing at the end").at(line);
      }
      char next = source.charAt(position);
      boolean sign = (next == '-' || next == '+') && source.startsWith(close, position + 1);
      if (open == 0 && (sign || source.startsWith(close, position))) {
        add(end, close);
        moveTo(position + close.length() + (sign ? 1 : 0));
        behindTag(sign ? next : ' ', end == Kind.STATEMENT_END);
        return;
      }
      token(next);
      Token last = tokens.getLast();
      if (last.kind() == Kind.OPERATOR) {
        open += "([{".contains(last.text()) ? 1 : ")]}".contains(last.text()) ? -1 : 0;
      }
    }
  }

  /** Adds the token of a tag that begins with this character. */
  private void token(char first) {
    if (first == '\'' || first == '"') {
      Matcher string = next(STRING, "a string has no end");
      String body = string.group(1) == null ? string.group(2) : string.group(1);
      add(Kind.STRING, unescaped(body));
      moveTo(string.end());
      return;
    }
    if (Character.isLetter(first) || first == '_') {
      Matcher name = next(NAME, "a name is expected");
      add(Kind.NAME, name.group());
      moveTo(name.end());
      return;
    }
    if (first >= '0' && first <= '9') {
      Matcher number = next(NUMBER, "a number is expected");
      boolean whole = number.group(2) == null && number.group(3) == null;
      add(whole ? Kind.INTEGER : Kind.FLOAT, number.group().replace("_", ""));
      moveTo(number.end());
      return;
    }
    Matcher operator = next(OPERATOR, "unexpected character '" + first + "'");
    add(Kind.OPERATOR, operator.group());
    moveTo(operator.end());
  }

  private Matcher next(Pattern pattern, String otherwise) {
    Matcher matcher = pattern.matcher(source).region(position, source.length());
    if (!matcher.lookingAt()) {
      throw new TemplateException(otherwise).at(line);
    }
    return matcher;
  }

  private static String unescaped(String body) {
    return ESCAPE
        .matcher(body)
        .replaceAll(
            escape -> {
              for (int group = 1; group <= 3; group++) {
                if (escape.group(group) != null) {
                  return literal(Integer.parseUnsignedInt(escape.group(group), 16));
                }
              }
              if (escape.group(4) != null) {
                return literal(Integer.parseInt(escape.group(4), 8));
              }
              return escape.group(5) == null ? "" : Matcher.quoteReplacement(named(escape.group()));
            });
  }

  private static String literal(int codePoint) {
    if (!Character.isValidCodePoint(codePoint)) {
      throw new TemplateException("a string has an escape beyond Unicode");
    }
    return Matcher.quoteReplacement(Character.toString(codePoint));
  }

  private static String named(String escape) {
    return switch (escape.charAt(1)) {
      case 'n' -> "\n";
      case 't' -> "\t";
      case 'r' -> "\r";
      case 'b' -> "\b";
      case 'f' -> "\f";
      case 'a' -> "\u0007";
      case 'v' -> "\u000B";
      case '\\', '\'', '"' -> escape.substring(1);
      default -> escape;
    };
  }

  private void add(Kind kind, String text) {
    if (kind != Kind.TEXT || !text.isEmpty()) {
      tokens.add(new Token(kind, text, line));
    }
  }

  private void moveTo(int end) {
    for (; position < end; position++) {
      if (source.charAt(position) == '\n') {
        line++;
      }
    }
  }
}
