package dev.laco.bench.gpu;

import java.util.ArrayList;
import java.util.List;

/**
 * Several kinds of work that take turns: in the given order, then in reverse, and so on, so that no
 * kind always comes after the same other one.
 */
final class Turns {
  private final List<Runnable> works;
  private int turn;

  Turns(List<Runnable> works) {
    this.works = List.copyOf(works);
  }

  int count() {
    return works.size();
  }

  /** The work of the next turn, without ending that turn. */
  void peek() {
    works.get(kind(turn)).run();
  }

  /** The work of the next turn. */
  void next() {
    works.get(kind(turn++)).run();
  }

  private int kind(int at) {
    int place = at % works.size();
    return at / works.size() % 2 == 0 ? place : works.size() - 1 - place;
  }

  /**
   * Takes values apart by the kind of work that they are of.
   *
   * @param values of all turns since the beginning, whole rounds
   */
  List<List<Double>> apart(double[] values) {
    List<List<Double>> apart = new ArrayList<>();
    works.forEach(work -> apart.add(new ArrayList<>()));
    for (int at = 0; at < values.length; at++) {
      apart.get(kind(at)).add(values[at]);
    }
    return apart;
  }
}
