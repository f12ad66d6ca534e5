package dev.laco.text.jinja;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** A function, method, filter or macro. */
interface Callable {
  Object call(Arguments arguments);

  /**
   * The arguments of a call.
   *
   * @param positional those without a name, in their order
   * @param named the others
   */
  record Arguments(List<Object> positional, Map<String, Object> named) {
    /** The argument at a place or of a name, or null. */
    @Nullable Object find(int place, String name) {
      return place < positional.size() ? positional.get(place) : named.get(name);
    }

    Object get(int place, String name, Object otherwise) {
      Object found = find(place, name);
      return found == null ? otherwise : found;
    }

    Object require(int place, String name) {
      Object found = find(place, name);
      if (found == null) {
        throw TemplateException.of("argument '%s' is missing", name);
      }
      return found;
    }

    /** Checks that there are no more arguments than these names. */
    Arguments of(String... names) {
      if (positional.size() > names.length) {
        throw TemplateException.of(
            "%d arguments, of which %d are taken", positional.size(), names.length);
      }
      requireKnown(Set.of(names));
      return this;
    }

    /** Checks that no argument has a name. */
    void ofPlaces() {
      requireKnown(Set.of());
    }

    private void requireKnown(Set<String> known) {
      for (String name : named.keySet()) {
        if (!known.contains(name)) {
          throw TemplateException.of("there is no argument '%s'", name);
        }
      }
    }
  }
}
