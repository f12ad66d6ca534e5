package dev.laco.text.jinja;

/**
 * A piece of a template.
 *
 * @param text the characters; of a string literal those that it stands for
 * @param line number of the line where the piece begins, from 1
 */
record Token(Kind kind, String text, int line) {
  /** What a piece is. */
  enum Kind {
    /** Text that is written as it is. */
    TEXT,
    /** The beginning or end of <code>{% ... %}</code>. */
    STATEMENT_BEGIN,
    STATEMENT_END,
    /** The beginning or end of <code>{{ ... }}</code>. */
    OUTPUT_BEGIN,
    OUTPUT_END,
    NAME,
    STRING,
    INTEGER,
    FLOAT,
    OPERATOR,
    END
  }

  boolean is(Kind wanted, String wantedText) {
    return kind == wanted && text.equals(wantedText);
  }

  boolean isOperator(String operator) {
    return is(Kind.OPERATOR, operator);
  }

  boolean isName(String name) {
    return is(Kind.NAME, name);
  }

  /** The piece, for messages. */
  String show() {
    return switch (kind) {
      case END -> "the end of the template";
      case STATEMENT_END -> "'%}'";
      case OUTPUT_END -> "'}}'";
      default -> "'" + text + "'";
    };
  }
}
