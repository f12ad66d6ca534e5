package dev.laco.cli;

import dev.laco.compare.Strategy;
import java.util.Iterator;

/** The values of {@code --strategies}. */
final class Strategies implements Iterable<String> {
  @Override
  public Iterator<String> iterator() {
    return Strategy.presets().stream().map(Strategy::label).iterator();
  }
}
