package dev.laco.text.jinja;

import dev.laco.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * Reads the expressions of a template. Each method reads one level of precedence, from the weakest
 * ({@code a if b else c}) to names and literals.
 */
final class ExpressionParser {
  private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", "<=", ">", ">=");

  private final Tokens tokens;

  ExpressionParser(Tokens tokens) {
    this.tokens = tokens;
  }

  /** A list of expressions separated by commas is a tuple; a single one is itself. */
  Expression tuple() {
    Expression first = expression();
    if (!tokens.peek().isOperator(",")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (tokens.takeOperator(",") && beginsExpression()) {
      all.add(expression());
    }
    return scope -> scope.made(values(all, scope));
  }

  private boolean beginsExpression() {
    return switch (tokens.peek().kind()) {
      case STATEMENT_END, OUTPUT_END, END -> false;
      case OPERATOR -> "([{-+".contains(tokens.peek().text());
      default -> !tokens.peek().isName("if") && !tokens.peek().isName("recursive");
    };
  }

  private static List<Object> values(List<Expression> all, Scope scope) {
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
    if (!conditional || !tokens.takeName("if")) {
      return value;
    }
    Expression condition = or();
    Expression otherwise =
        tokens.takeName("else") ? expression() : scope -> new Undefined("a missing 'else'");
    return scope ->
        Values.truth(condition.value(scope)) ? value.value(scope) : otherwise.value(scope);
  }

  private Expression or() {
    Expression first = and();
    if (!tokens.peek().isName("or")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (tokens.takeName("or")) {
      all.add(and());
    }
    return scope -> firstThatIs(true, all, scope);
  }

  private Expression and() {
    Expression first = not();
    if (!tokens.peek().isName("and")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (tokens.takeName("and")) {
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
    if (tokens.takeName("not")) {
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
      Token token = tokens.peek();
      if (token.kind() == Kind.OPERATOR && COMPARISONS.contains(token.text())) {
        operations.add(new Operation(tokens.take().text(), sum()));
      } else if (tokens.takeName("in")) {
        operations.add(new Operation("in", sum()));
      } else if (token.isName("not") && tokens.second().isName("in")) {
        tokens.take();
        tokens.take();
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
        if (!Values.holds(operation.operator, left, right)) {
          return false;
        }
        left = right;
      }
      return true;
    };
  }

  private Expression sum() {
    return operations(this::joined, "+", "-");
  }

  private Expression joined() {
    Expression first = product();
    if (!tokens.peek().isOperator("~")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (tokens.takeOperator("~")) {
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

  /**
   * Operations of the same precedence, from left to right.
   *
   * @param operands reads the next operand, of the precedence above
   */
  private Expression operations(Supplier<Expression> operands, String... operators) {
    Set<String> wanted = Set.of(operators);
    Expression first = operands.get();
    List<Operation> operations = new ArrayList<>();
    while (tokens.peek().kind() == Kind.OPERATOR && wanted.contains(tokens.peek().text())) {
      operations.add(new Operation(tokens.take().text(), operands.get()));
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
    if (tokens.takeOperator("-")) {
      Expression value = unfiltered();
      return scope -> Values.negative(value.value(scope));
    }
    if (tokens.takeOperator("+")) {
      return unfiltered();
    }
    return reached(primary());
  }

  /** What follows a value: attributes, subscripts, slices and calls. */
  private Expression reached(Expression first) {
    Expression value = first;
    while (true) {
      Expression of = value;
      if (tokens.takeOperator(".")) {
        Token name = tokens.take();
        if (name.kind() == Kind.INTEGER) {
          long index = integer(name);
          value = scope -> Attributes.element(of.value(scope), index);
        } else if (name.kind() == Kind.NAME) {
          value = scope -> Attributes.attribute(of.value(scope), name.text());
        } else {
          throw TemplateException.of("expected a name behind '.', found %s", name.show())
              .at(name.line());
        }
      } else if (tokens.takeOperator("[")) {
        value = subscript(of);
      } else if (tokens.takeOperator("(")) {
        value = call(of);
      } else {
        return value;
      }
    }
  }

  private Expression subscript(Expression of) {
    Expression none = scope -> None.NONE;
    Expression from = tokens.peek().isOperator(":") ? none : expression();
    if (tokens.takeOperator("]")) {
      return scope -> Attributes.element(of.value(scope), from.value(scope));
    }
    tokens.requireOperator(":");
    Expression to =
        tokens.peek().isOperator(":") || tokens.peek().isOperator("]") ? none : expression();
    Expression step =
        tokens.takeOperator(":") && !tokens.peek().isOperator("]") ? expression() : none;
    tokens.requireOperator("]");
    return scope ->
        scope.made(
            Values.slice(of.value(scope), from.value(scope), to.value(scope), step.value(scope)));
  }

  /** Expressions for the arguments of a call. */
  private record Given(List<Expression> positional, Map<String, Expression> named) {
    static final Given NOTHING = new Given(List.of(), Map.of());

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
    while (!tokens.takeOperator(")")) {
      if (tokens.peek().kind() == Kind.NAME && tokens.second().isOperator("=")) {
        String name = tokens.take().text();
        tokens.take();
        named.put(name, expression());
      } else if (named.isEmpty()) {
        positional.add(expression());
      } else {
        throw tokens.unexpected("an argument with a name");
      }
      if (!tokens.peek().isOperator(")")) {
        tokens.requireOperator(",");
      }
    }
    return new Given(positional, named);
  }

  /** Filters and tests behind a value. */
  Expression filtered(Expression first) {
    Expression value = first;
    while (true) {
      if (tokens.takeOperator("|")) {
        value = filter(value);
      } else if (tokens.takeName("is")) {
        value = test(value);
      } else {
        return value;
      }
    }
  }

  /** The filter whose name comes next. */
  Expression filter(Expression of) {
    Token name = tokens.require(Kind.NAME, "the name of a filter");
    Filters.Filter filter = Filters.named(name.text());
    if (filter == null) {
      throw TemplateException.of("there is no filter '%s'", name.text()).at(name.line());
    }
    Given given = tokens.takeOperator("(") ? given() : Given.NOTHING;
    return scope -> scope.made(filter.apply(of.value(scope), given.values(scope)));
  }

  private Expression test(Expression of) {
    boolean negated = tokens.takeName("not");
    Token name = tokens.take();
    Checks.Check check = Checks.named(name.text());
    if (check == null) {
      throw TemplateException.of("there is no test '%s'", name.text()).at(name.line());
    }
    Given given =
        tokens.takeOperator("(")
            ? given()
            : beginsArgument() ? new Given(List.of(reached(primary())), Map.of()) : Given.NOTHING;
    return scope -> {
      scope.step();
      return check.holds(of.value(scope), given.values(scope).positional()) != negated;
    };
  }

  private boolean beginsArgument() {
    return switch (tokens.peek().kind()) {
      case STRING, INTEGER, FLOAT -> true;
      case OPERATOR -> tokens.peek().isOperator("[") || tokens.peek().isOperator("{");
      case NAME ->
          !Set.of("else", "or", "and", "is", "if", "in", "not").contains(tokens.peek().text());
      default -> false;
    };
  }

  private Expression primary() {
    Token token = tokens.take();
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
    while (tokens.peek().kind() == Kind.STRING) {
      text.append(tokens.take().text());
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
    if (tokens.takeOperator(")")) {
      return scope -> List.of();
    }
    Expression value = tuple();
    tokens.requireOperator(")");
    return value;
  }

  private Expression list() {
    List<Expression> all = new ArrayList<>();
    while (!tokens.takeOperator("]")) {
      all.add(expression());
      if (!tokens.peek().isOperator("]")) {
        tokens.requireOperator(",");
      }
    }
    return scope -> scope.made(values(all, scope));
  }

  private Expression dict() {
    List<Map.Entry<Expression, Expression>> all = new ArrayList<>();
    while (!tokens.takeOperator("}")) {
      Expression key = expression();
      tokens.requireOperator(":");
      all.add(Map.entry(key, expression()));
      if (!tokens.peek().isOperator("}")) {
        tokens.requireOperator(",");
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
