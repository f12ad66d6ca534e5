package dev.laco.text.jinja;

import dev.laco.text.jinja.Statement.End;
import dev.laco.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Reads the statements of a template: {@code if}, {@code for}, {@code set}, {@code macro}, {@code
 * filter}, {@code break} and {@code continue}. {@code generation}, by which transformers marks what
 * a model is trained on, is read as its content.
 */
final class Parser {
  private final Tokens tokens;
  private final ExpressionParser expressions;

  private Parser(Tokens tokens) {
    this.tokens = tokens;
    expressions = new ExpressionParser(tokens);
  }

  /** Reads a whole template. */
  static Statement parse(String template) {
    Parser parser = new Parser(new Tokens(Lexer.tokens(template)));
    Statement body = parser.body(Set.of());
    if (parser.tokens.peek().kind() != Kind.END) {
      throw parser.tokens.unexpected("the end of the template");
    }
    return body;
  }

  /** Statements up to one of these names, which is taken as far as the name, or up to the end. */
  private Statement body(Set<String> ends) {
    List<Statement> statements = new ArrayList<>();
    while (true) {
      Token token = tokens.peek();
      switch (token.kind()) {
        case TEXT -> {
          String text = tokens.take().text();
          statements.add((scope, out) -> write(text, out));
        }
        case OUTPUT_BEGIN -> {
          tokens.take();
          Expression value = expressions.tuple();
          tokens.require(Kind.OUTPUT_END, "'}}'");
          statements.add(
              placed(token.line(), (scope, out) -> write(Values.string(value.value(scope)), out)));
        }
        case STATEMENT_BEGIN -> {
          tokens.take();
          Token name = tokens.require(Kind.NAME, "the name of a statement");
          if (ends.contains(name.text())) {
            return Statement.all(statements);
          }
          statements.add(placed(token.line(), statement(name)));
        }
        default -> {
          if (!ends.isEmpty()) {
            throw tokens.unexpected(
                ends.stream().sorted().collect(Collectors.joining("' or '", "'", "'")));
          }
          return Statement.all(statements);
        }
      }
    }
  }

  private static End write(String text, StringBuilder out) {
    out.append(text);
    Values.requireRoom(out.length());
    return End.NEXT;
  }

  /** A statement whose errors name its line. */
  private static Statement placed(int line, Statement statement) {
    return (scope, out) -> {
      try {
        return statement.run(scope, out);
      } catch (TemplateException e) {
        throw e.at(line);
      }
    };
  }

  private void end() {
    tokens.require(Kind.STATEMENT_END, "'%}'");
  }

  /** The content of a statement that ends with a statement of that name. */
  private Statement content(String end) {
    end();
    Statement body = body(Set.of(end));
    end();
    return body;
  }

  private Statement statement(Token name) {
    return switch (name.text()) {
      case "if" -> conditional();
      case "for" -> loop();
      case "set" -> set();
      case "macro" -> macro();
      case "filter" -> filter();
      case "generation" -> content("endgeneration");
      case "break" -> leaving(End.BREAK);
      case "continue" -> leaving(End.CONTINUE);
      default ->
          throw TemplateException.of("there is no statement '%s'", name.text()).at(name.line());
    };
  }

  private Statement leaving(End how) {
    end();
    return (scope, out) -> how;
  }

  /** A condition, and what is run where it is true. */
  private record Branch(Expression condition, Statement body) {}

  private Statement conditional() {
    List<Branch> branches = new ArrayList<>();
    boolean more = true;
    while (more) {
      Expression condition = expressions.tuple();
      end();
      Statement body = body(Set.of("elif", "else", "endif"));
      branches.add(new Branch(condition, body));
      more = last("elif");
    }
    if (last("else")) {
      branches.add(new Branch(scope -> true, content("endif")));
    } else {
      end();
    }
    return (scope, out) -> {
      for (Branch branch : branches) {
        if (Values.truth(branch.condition.value(scope))) {
          return branch.body.run(scope, out);
        }
      }
      return End.NEXT;
    };
  }

  /** Whether the name that {@link #body} took last is this one. */
  private boolean last(String name) {
    return tokens.last().isName(name);
  }

  private Statement loop() {
    List<String> targets = targets();
    tokens.requireName("in");
    Expression all = expressions.expression(false);
    Expression wanted = tokens.takeName("if") ? expressions.expression() : scope -> true;
    if (tokens.peek().isName("recursive")) {
      throw new TemplateException("recursive loops are not supported").at(tokens.peek().line());
    }
    end();
    Statement body = body(Set.of("else", "endfor"));
    Statement otherwise = Statement.all(List.of());
    if (last("else")) {
      otherwise = content("endfor");
    } else {
      end();
    }
    Statement whereEmpty = otherwise;
    return (scope, out) -> {
      List<Object> elements = new ArrayList<>();
      for (Object element : Values.elements(all.value(scope))) {
        scope.step();
        Scope inner = scope.inner();
        assign(targets, element, inner);
        if (Values.truth(wanted.value(inner))) {
          elements.add(element);
        }
      }
      if (elements.isEmpty()) {
        return whereEmpty.run(scope.inner(), out);
      }
      for (int i = 0; i < elements.size(); i++) {
        scope.step();
        Scope inner = scope.inner();
        assign(targets, elements.get(i), inner);
        inner.set("loop", place(elements, i));
        if (body.run(inner, out) == End.BREAK) {
          break;
        }
      }
      return End.NEXT;
    };
  }

  /** The names of a loop's or assignment's targets; several take the elements of a value. */
  private List<String> targets() {
    boolean parentheses = tokens.takeOperator("(");
    List<String> names = new ArrayList<>();
    do {
      names.add(tokens.require(Kind.NAME, "a name").text());
    } while (tokens.takeOperator(","));
    if (parentheses) {
      tokens.requireOperator(")");
    }
    return names;
  }

  private static void assign(List<String> targets, Object value, Scope scope) {
    if (targets.size() == 1) {
      scope.set(targets.getFirst(), value);
      return;
    }
    List<Object> elements = Values.elements(value);
    if (elements.size() != targets.size()) {
      throw TemplateException.of("%d values for %d names", elements.size(), targets.size());
    }
    for (int i = 0; i < targets.size(); i++) {
      scope.set(targets.get(i), elements.get(i));
    }
  }

  /** The variable {@code loop}. */
  private static Namespace place(List<Object> elements, int index) {
    int size = elements.size();
    Map<String, Object> loop = new LinkedHashMap<>();
    loop.put("index", index + 1L);
    loop.put("index0", (long) index);
    loop.put("revindex", (long) size - index);
    loop.put("revindex0", size - index - 1L);
    loop.put("first", index == 0);
    loop.put("last", index == size - 1);
    loop.put("length", (long) size);
    loop.put("depth", 1L);
    loop.put("depth0", 0L);
    if (index > 0) {
      loop.put("previtem", elements.get(index - 1));
    }
    if (index < size - 1) {
      loop.put("nextitem", elements.get(index + 1));
    }
    Callable cycle =
        given -> {
          given.require(0, "value");
          return given.positional().get(index % given.positional().size());
        };
    loop.put("cycle", cycle);
    return new Namespace(loop);
  }

  private Statement set() {
    List<String> targets = targets();
    String field = null;
    if (targets.size() == 1 && tokens.takeOperator(".")) {
      field = tokens.require(Kind.NAME, "a name").text();
    }
    Assignment assignment = new Assignment(targets, field);
    if (tokens.takeOperator("=")) {
      Expression value = expressions.tuple();
      end();
      return (scope, out) -> {
        assignment.run(value.value(scope), scope);
        return End.NEXT;
      };
    }
    Text written = new Text();
    Expression filtered = expressions.filtered(written);
    Statement body = content("endset");
    return (scope, out) -> {
      String text = body.text(scope.inner());
      assignment.run(scope.made(written.filtered(text, filtered, scope)), scope);
      return End.NEXT;
    };
  }

  /** The text to which the filters of a statement are applied. */
  private static final class Text implements Expression {
    private static final String NAME = " text";

    Object filtered(String text, Expression filters, Scope scope) {
      Scope inner = scope.inner();
      inner.set(NAME, text);
      return filters.value(inner);
    }

    @Override
    public Object value(Scope scope) {
      return scope.get(NAME);
    }
  }

  /**
   * What gets a value.
   *
   * @param field of the namespace that the target names, or null
   */
  private record Assignment(List<String> targets, @Nullable String field) {
    void run(Object value, Scope scope) {
      if (field == null) {
        assign(targets, value, scope);
      } else if (scope.get(targets.getFirst()) instanceof Namespace space) {
        space.names().put(field, value);
      } else {
        throw TemplateException.of("'%s' is no namespace", targets.getFirst());
      }
    }
  }

  private Statement filter() {
    Text written = new Text();
    Expression filtered = expressions.filter(written);
    Expression all = expressions.filtered(filtered);
    Statement body = content("endfilter");
    return (scope, out) ->
        write(Values.string(written.filtered(body.text(scope.inner()), all, scope)), out);
  }

  private Statement macro() {
    String name = tokens.require(Kind.NAME, "the name of a macro").text();
    tokens.requireOperator("(");
    Map<String, Expression> parameters = new LinkedHashMap<>();
    while (!tokens.takeOperator(")")) {
      String parameter = tokens.require(Kind.NAME, "the name of a parameter").text();
      parameters.put(
          parameter,
          tokens.takeOperator("=") ? expressions.expression() : scope -> new Undefined(parameter));
      if (!tokens.peek().isOperator(")")) {
        tokens.requireOperator(",");
      }
    }
    Statement body = content("endmacro");
    String[] names = parameters.keySet().toArray(String[]::new);
    return (scope, out) -> {
      Callable macro =
          arguments -> {
            arguments.of(names);
            Scope inner = scope.inner();
            for (int i = 0; i < names.length; i++) {
              Object given = arguments.find(i, names[i]);
              Expression otherwise = parameters.get(names[i]);
              if (given != null) {
                inner.set(names[i], given);
              } else if (otherwise != null) {
                inner.set(names[i], otherwise.value(inner));
              }
            }
            return body.text(inner);
          };
      scope.set(name, macro);
      return End.NEXT;
    };
  }
}
