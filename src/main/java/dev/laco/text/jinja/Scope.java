package dev.laco.text.jinja;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The names that a part of a template sees, and what is left of the bounds of the whole run. */
final class Scope {
  /**
   * What all values that a run makes may have together: a character counts as 1, an element as
   * {@link #ELEMENT}.
   */
  private static final long MOST_MADE = 64 << 20;

  /** Elements take more memory than characters. */
  static final int ELEMENT = 16;

  /** Steps between two looks at the clock. */
  private static final int BETWEEN_LOOKS = 256;

  /** The most calls of macros inside each other. */
  private static final int MOST_CALLS = 64;

  /** What is left, for all scopes of a run. */
  private static final class Left {
    private final long start = System.nanoTime();
    private final Duration most;
    private long steps;
    private long made;
    private int calls = MOST_CALLS;

    private Left(Duration most) {
      this.most = most;
    }

    private void requireRoom() {
      if (made > MOST_MADE) {
        throw TemplateException.of("its values have more than %,d characters together", MOST_MADE);
      }
    }

    /** Counts what a value has, lists in lists as often as they stand there. */
    private void add(Object value) {
      if (value instanceof Collection<?> elements) {
        made += (long) ELEMENT * elements.size();
        for (Object element : elements) {
          requireRoom();
          add(element);
        }
      } else if (value instanceof Map<?, ?> map) {
        add(map.keySet());
        add(map.values());
      }
    }
  }

  private final Map<String, Object> names;
  private final @Nullable Scope outer;
  private final Left left;

  private Scope(Map<String, Object> names, @Nullable Scope outer, Left left) {
    this.names = names;
    this.outer = outer;
    this.left = left;
  }

  /**
   * The scope of a whole template.
   *
   * @param most how long the run may take
   */
  static Scope of(Map<String, Object> names, Duration most) {
    return new Scope(new HashMap<>(names), null, new Left(most));
  }

  /** A scope in which names are set that this one does not see. */
  Scope inner() {
    return new Scope(new HashMap<>(), this, left);
  }

  Object get(String name) {
    for (Scope scope = this; scope != null; scope = scope.outer) {
      Object value = scope.names.get(name);
      if (value != null) {
        return value;
      }
    }
    return new Undefined(name);
  }

  void set(String name, Object value) {
    names.put(name, value);
  }

  /** Is called for every statement, loop and call, so that no template runs for ever. */
  void step() {
    left.steps++;
    if (left.steps % BETWEEN_LOOKS == 0 && System.nanoTime() - left.start > left.most.toNanos()) {
      throw TemplateException.of("takes longer than %d s", left.most.toSeconds());
    }
  }

  /** Counts a new value, and returns it. */
  Object made(Object value) {
    step();
    left.made += value instanceof String text ? text.length() : 0;
    left.add(value);
    left.requireRoom();
    return value;
  }

  void enter() {
    if (left.calls-- == 0) {
      throw TemplateException.of("more than %d calls inside each other", MOST_CALLS);
    }
  }

  void leave() {
    left.calls++;
  }
}
