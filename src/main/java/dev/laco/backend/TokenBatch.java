package dev.laco.backend;

import dev.laco.model.PackedSequences;

/** Packed sequences of tokens and their rotary angles, in the memory of a device. */
public interface TokenBatch extends AutoCloseable {
  PackedSequences sequences();

  /**
   * Rotary angles of a token, which are the columns of the cosine and sine tables; a head rotates
   * twice as many of its elements.
   */
  int rotaryPairs();

  /** Number of tables of rotary angles. */
  int rotaryTables();

  @Override
  void close();
}
