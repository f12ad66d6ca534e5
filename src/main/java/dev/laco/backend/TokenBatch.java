package dev.laco.backend;

import dev.laco.model.PackedSequences;

/** Packed sequences and their rotary angles in a backend's memory, used by any number of ops. */
public interface TokenBatch extends AutoCloseable {
  PackedSequences sequences();

  /** Half the rotated width: columns of the cosine and sine tables. */
  int rotaryPairs();

  @Override
  void close();
}
