package dev.laco.text.jinja;

import dev.laco.text.jinja.Token.Kind;
import java.util.List;

/** The tokens of a template, which are taken one after the other. */
final class Tokens {
  private final List<Token> all;
  private int next;

  /**
   * Begins with the first token.
   *
   * @param all the last one is of {@link Kind#END}
   */
  Tokens(List<Token> all) {
    this.all = all;
  }

  Token peek() {
    return all.get(next);
  }

  /** The token behind the next one, which must not be the last. */
  Token second() {
    return all.get(next + 1);
  }

  /** The token that was taken last. */
  Token last() {
    return all.get(next - 1);
  }

  Token take() {
    Token token = all.get(next);
    if (token.kind() != Kind.END) {
      next++;
    }
    return token;
  }

  boolean takeOperator(String operator) {
    return takeIf(peek().isOperator(operator));
  }

  boolean takeName(String name) {
    return takeIf(peek().isName(name));
  }

  private boolean takeIf(boolean wanted) {
    if (wanted) {
      take();
    }
    return wanted;
  }

  void requireOperator(String operator) {
    if (!takeOperator(operator)) {
      throw unexpected("'" + operator + "'");
    }
  }

  void requireName(String name) {
    if (!takeName(name)) {
      throw unexpected("'" + name + "'");
    }
  }

  Token require(Kind kind, String what) {
    if (peek().kind() != kind) {
      throw unexpected(what);
    }
    return take();
  }

  TemplateException unexpected(String wanted) {
    return TemplateException.of("expected %s, found %s", wanted, peek().show()).at(peek().line());
  }
}
