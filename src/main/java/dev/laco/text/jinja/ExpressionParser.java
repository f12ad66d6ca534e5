package dev.laco.text.jinja;

import dev.laco.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Reads the expressions of a template. Each method reads one level of precedence, from the weakest
 * ({@code a if b else c}) to names and literals.
 */
final class ExpressionParser {
  private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", "<=", ">", ">=");

  private final List<Token> tokens;
  private int next;

  ExpressionParser(List<Token> tokens) {
    this.tokens = tokens;
  }

  Token peek() {
    return tokens.get(next);
  }

  /** The token that was taken last. */
  Token last() {
    return tokens.get(next - 1);
  }

  Token take() {
    Token token = tokens.get(next);
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

  /** A list of expressions separated by commas is a tuple; a single one is itself. */
  Expression tuple() {
    Expression first = expression();
    if (!peek().isOperator(",")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (takeOperator(",") && beginsExpression()) {
      all.add(expression());
    }
    return scope -> scope.made(values(all, scope));
  }

  private boolean beginsExpression() {
    return switch (peek().kind()) {
      case STATEMENT_END, OUTPUT_END, END -> false;
      case OPERATOR -> "([{-+".contains(peek().text());
      default -> !peek().isName("if") && !peek().isName("recursive");
    };
  }

  private static List<Object> values(Collection<Expression> all, Scope scope) {
    List<Object> values = new ArrayList<>();
    all.forEach(each -> values.add(each.value(scope)));
    return values;
  }

  Expression expression() {
    return expression(true);
  }

  /**
   * An expression.
   *
   * @param conditional whether {@code if} belongs to it; in the head of a loop it does not
   */
  Expression expression(boolean conditional) {
    Expression value = or();
    if (!conditional || !takeName("if")) {
      return value;
    }
    Expression condition = or();
    Expression otherwise =
        takeName("else") ? expression() : scope -> new Undefined("a missing 'else'");
    return scope ->
        Values.truth(condition.value(scope)) ? value.value(scope) : otherwise.value(scope);
  }

  private Expression or() {
    Expression first = and();
    if (!peek().isName("or")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (takeName("or")) {
      all.add(and());
    }
    return scope -> firstThatIs(true, all, scope);
  }

  private Expression and() {
    Expression first = not();
    if (!peek().isName("and")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (takeName("and")) {
      all.add(not());
    }
    return scope -> firstThatIs(false, all, scope);
  }

  /** The first value that is true, or false; the last where none is. */
  private static Object firstThatIs(boolean wanted, List<Expression> all, Scope scope) {
    Object value = None.NONE;
    for (Expression each : all) {
      value = each.value(scope);
      if (Values.truth(value) == wanted) {
        return value;
      }
    }
    return value;
  }

  private Expression not() {
    if (takeName("not")) {
      Expression value = not();
      return scope -> !Values.truth(value.value(scope));
    }
    return comparison();
  }

  /** An operator between two values, and the second of them. */
  private record Operation(String operator, Expression right) {}

  private Expression comparison() {
    Expression first = sum();
    List<Operation> operations = new ArrayList<>();
    while (true) {
      Token token = peek();
      if (token.kind() == Kind.OPERATOR && COMPARISONS.contains(token.text())) {
        operations.add(new Operation(take().text(), sum()));
      } else if (takeName("in")) {
        operations.add(new Operation("in", sum()));
      } else if (token.isName("not") && tokens.get(next + 1).isName("in")) {
        take();
        take();
        operations.add(new Operation("not in", sum()));
      } else {
        break;
      }
    }
    if (operations.isEmpty()) {
      return first;
    }
    return scope -> {
      Object left = first.value(scope);
      for (Operation operation : operations) {
        Object right = operation.right.value(scope);
        if (!holds(operation.operator, left, right)) {
          return false;
        }
        left = right;
      }
      return true;
    };
  }

  static boolean holds(String operator, Object left, Object right) {
    return switch (operator) {
      case "==" -> Values.equal(left, right);
      case "!=" -> !Values.equal(left, right);
      case "<" -> Values.compare(left, right) < 0;
      case "<=" -> Values.compare(left, right) <= 0;
      case ">" -> Values.compare(left, right) > 0;
      case ">=" -> Values.compare(left, right) >= 0;
      case "in" -> Values.contains(right, left);
      default -> !Values.contains(right, left);
    };
  }

  /** Reads the operands of one level of precedence. */
  private interface Level {
    Expression read();
  }

  private Expression sum() {
    return operations(this::joined, "+", "-");
  }

  private Expression joined() {
    Expression first = product();
    if (!peek().isOperator("~")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (takeOperator("~")) {
      all.add(product());
    }
    return scope -> {
      StringBuilder text = new StringBuilder();
      for (Expression each : all) {
        text.append(Values.string(each.value(scope)));
        Values.requireRoom(text.length());
      }
      return scope.made(text.toString());
    };
  }

  private Expression product() {
    return operations(this::power, "*", "/", "//", "%");
  }

  private Expression power() {
    return operations(this::signed, "**");
  }

  /** Operations of the same precedence, from left to right. */
  private Expression operations(Level operands, String... operators) {
    Set<String> wanted = Set.of(operators);
    Expression first = operands.read();
    List<Operation> operations = new ArrayList<>();
    while (peek().kind() == Kind.OPERATOR && wanted.contains(peek().text())) {
      operations.add(new Operation(take().text(), operands.read()));
    }
    if (operations.isEmpty()) {
      return first;
    }
    return scope -> {
      Object value = first.value(scope);
      for (Operation operation : operations) {
        value =
            scope.made(Values.arithmetic(operation.operator, value, operation.right.value(scope)));
      }
      return value;
    };
  }

  private Expression signed() {
    return filtered(unfiltered());
  }

  private Expression unfiltered() {
    if (takeOperator("-")) {
      Expression value = unfiltered();
      return scope -> Values.negative(value.value(scope));
    }
    if (takeOperator("+")) {
      return unfiltered();
    }
    return reached(primary());
  }

  /** What follows a value: attributes, subscripts, slices and calls. */
  private Expression reached(Expression first) {
    Expression value = first;
    while (true) {
      Expression of = value;
      if (takeOperator(".")) {
        Token name = take();
        if (name.kind() == Kind.INTEGER) {
          long index = integer(name);
          value = scope -> Attributes.element(of.value(scope), index);
        } else if (name.kind() == Kind.NAME) {
          value = scope -> Attributes.attribute(of.value(scope), name.text());
        } else {
          throw TemplateException.of("expected a name behind '.', found %s", name.show())
              .at(name.line());
        }
      } else if (takeOperator("[")) {
        value = subscript(of);
      } else if (takeOperator("(")) {
        value = call(of);
      } else {
        return value;
      }
    }
  }

  private Expression subscript(Expression of) {
    Expression none = scope -> None.NONE;
    Expression from = peek().isOperator(":") ? none : expression();
    if (takeOperator("]")) {
      return scope -> Attributes.element(of.value(scope), from.value(scope));
    }
    requireOperator(":");
    Expression to = peek().isOperator(":") || peek().isOperator("]") ? none : expression();
    Expression step = takeOperator(":") && !peek().isOperator("]") ? expression() : none;
    requireOperator("]");
    return scope ->
        scope.made(
            Values.slice(of.value(scope), from.value(scope), to.value(scope), step.value(scope)));
  }

  /** Expressions for the arguments of a call. */
  record Given(List<Expression> positional, Map<String, Expression> named) {
    Callable.Arguments values(Scope scope) {
      Map<String, Object> names = new LinkedHashMap<>();
      named.forEach((name, each) -> names.put(name, each.value(scope)));
      return new Callable.Arguments(ExpressionParser.values(positional, scope), names);
    }
  }

  private Expression call(Expression of) {
    Given given = given();
    return scope -> {
      Object function = of.value(scope);
      if (function instanceof Callable callable) {
        scope.enter();
        Object result = callable.call(given.values(scope));
        scope.leave();
        return scope.made(result);
      }
      throw function instanceof Undefined undefined
          ? undefined.error()
          : TemplateException.of("%s cannot be called", Values.type(function));
    };
  }

  /** Arguments up to the closing parenthesis. */
  private Given given() {
    List<Expression> positional = new ArrayList<>();
    Map<String, Expression> named = new LinkedHashMap<>();
    while (!takeOperator(")")) {
      if (peek().kind() == Kind.NAME && tokens.get(next + 1).isOperator("=")) {
        String name = take().text();
        take();
        named.put(name, expression());
      } else if (named.isEmpty()) {
        positional.add(expression());
      } else {
        throw unexpected("an argument with a name");
      }
      if (!peek().isOperator(")")) {
        requireOperator(",");
      }
    }
    return new Given(positional, named);
  }

  /** Filters and tests behind a value. */
  Expression filtered(Expression first) {
    Expression value = first;
    while (true) {
      if (takeOperator("|")) {
        value = filter(value);
      } else if (takeName("is")) {
        value = test(value);
      } else {
        return value;
      }
    }
  }

  /** The filter whose name comes next. */
  Expression filter(Expression of) {
    Token name = require(Kind.NAME, "the name of a filter");
    Filters.Filter filter = Filters.named(name.text());
    if (filter == null) {
      throw TemplateException.of("there is no filter '%s'", name.text()).at(name.line());
    }
    Given given = takeOperator("(") ? given() : new Given(List.of(), Map.of());
    return scope -> scope.made(filter.apply(of.value(scope), given.values(scope)));
  }

  private Expression test(Expression of) {
    boolean negated = takeName("not");
    Token name = take();
    Checks.Check check = Checks.named(name.text());
    if (check == null) {
      throw TemplateException.of("there is no test '%s'", name.text()).at(name.line());
    }
    @Nullable Given given = null;
    if (takeOperator("(")) {
      given = given();
    } else if (beginsArgument()) {
      given = new Given(List.of(reached(primary())), Map.of());
    }
    Given arguments = given == null ? new Given(List.of(), Map.of()) : given;
    return scope -> {
      scope.step();
      return check.holds(of.value(scope), arguments.values(scope).positional()) != negated;
    };
  }

  private boolean beginsArgument() {
    return switch (peek().kind()) {
      case STRING, INTEGER, FLOAT -> true;
      case OPERATOR -> peek().isOperator("[") || peek().isOperator("{");
      case NAME -> !Set.of("else", "or", "and", "is", "if", "in", "not").contains(peek().text());
      default -> false;
    };
  }

  private Expression primary() {
    Token token = take();
    return switch (token.kind()) {
      case NAME -> name(token);
      case STRING -> string(token);
      case INTEGER -> {
        long constant = integer(token);
        yield scope -> constant;
      }
      case FLOAT -> {
        double constant = Double.parseDouble(token.text());
        yield scope -> constant;
      }
      case OPERATOR -> enclosed(token);
      default -> throw missing(token);
    };
  }

  private Expression enclosed(Token begin) {
    return switch (begin.text()) {
      case "(" -> parenthesised();
      case "[" -> list();
      case "{" -> dict();
      default -> throw missing(begin);
    };
  }

  private static TemplateException missing(Token found) {
    return TemplateException.of("expected a value, found %s", found.show()).at(found.line());
  }

  /** Strings side by side are one string. */
  private Expression string(Token first) {
    StringBuilder text = new StringBuilder(first.text());
    while (peek().kind() == Kind.STRING) {
      text.append(take().text());
    }
    String constant = text.toString();
    return scope -> constant;
  }

  private static Expression name(Token token) {
    String name = token.text();
    return switch (name) {
      case "true", "True" -> scope -> true;
      case "false", "False" -> scope -> false;
      case "none", "None" -> scope -> None.NONE;
      default -> scope -> scope.get(name);
    };
  }

  private static long integer(Token token) {
    try {
      return Long.parseLong(token.text());
    } catch (NumberFormatException e) {
      throw TemplateException.of("%s is too large", token.text()).at(token.line());
    }
  }

  private Expression parenthesised() {
    if (takeOperator(")")) {
      return scope -> List.of();
    }
    Expression value = tuple();
    requireOperator(")");
    return value;
  }

  private Expression list() {
    List<Expression> all = new ArrayList<>();
    while (!takeOperator("]")) {
      all.add(expression());
      if (!peek().isOperator("]")) {
        requireOperator(",");
      }
    }
    return scope -> scope.made(values(all, scope));
  }

  private Expression dict() {
    List<Map.Entry<Expression, Expression>> all = new ArrayList<>();
    while (!takeOperator("}")) {
      Expression key = expression();
      requireOperator(":");
      all.add(Map.entry(key, expression()));
      if (!peek().isOperator("}")) {
        requireOperator(",");
      }
    }
    return scope -> {
      Map<Object, Object> map = new LinkedHashMap<>();
      for (Map.Entry<Expression, Expression> entry : all) {
        map.put(Values.key(entry.getKey().value(scope)), entry.getValue().value(scope));
      }
      return scope.made(map);
    };
  }
}
