package dev.laco.text;

import java.util.ArrayList;
import java.util.List;
import java.util.function.ToIntFunction;

/** Cuts lists of chunks into batches that a model runs at once. */
public final class Packing {
  private Packing() {}

  /**
   * The chunks in their order, cut into batches of at most so many tokens; a longer chunk is a
   * batch of its own.
   *
   * @param length tokens of a chunk
   */
  public static <C> List<List<C>> of(List<C> chunks, ToIntFunction<C> length, int tokens) {
    List<List<C>> batches = new ArrayList<>();
    int room = 0;
    for (C chunk : chunks) {
      int size = length.applyAsInt(chunk);
      if (size > room || batches.isEmpty()) {
        batches.add(new ArrayList<>());
        room = tokens;
      }
      batches.getLast().add(chunk);
      room -= size;
    }
    return batches;
  }
}
