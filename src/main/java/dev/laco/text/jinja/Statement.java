package dev.laco.text.jinja;

import java.util.List;

/** A part of a template that writes text, sets names, or leaves a loop. */
interface Statement {
  /** How a statement ends. */
  enum End {
    NEXT,
    BREAK,
    CONTINUE
  }

  /** Runs the statement, which writes to {@code out}. */
  End run(Scope scope, StringBuilder out);

  /** Runs statements until one does not go on with the next. */
  static Statement all(List<Statement> statements) {
    List<Statement> each = List.copyOf(statements);
    return (scope, out) -> {
      for (Statement statement : each) {
        scope.step();
        End end = statement.run(scope, out);
        if (end != End.NEXT) {
          return end;
        }
      }
      return End.NEXT;
    };
  }

  /** What statements write. */
  default String text(Scope scope) {
    StringBuilder out = new StringBuilder();
    run(scope, out);
    return out.toString();
  }
}
