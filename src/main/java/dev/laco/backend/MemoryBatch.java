package dev.laco.backend;

import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** A batch of tokens in the memory of this process. All integers are 32 bits wide. */
public final class MemoryBatch implements TokenBatch {
  private final PackedSequences sequences;
  private final int rotaryTables;
  private final int rotaryPairs;
  private final int maxToken;
  private final long keys;
  private final MemoryArena arena = new MemoryArena();
  private final MemorySegment tokens;
  private final MemorySegment targets;
  private final MemorySegment offsets;
  private final MemorySegment past;
  private final MemorySegment keyOffsets;
  private final MemorySegment cosine;
  private final MemorySegment sine;

  /**
   * Copies the sequences and tables out of the Java heap.
   *
   * @param cosine {@code [tables * T * pairs]}
   * @param sine {@code [tables * T * pairs]}
   */
  public MemoryBatch(PackedSequences sequences, int tables, float[] cosine, float[] sine) {
    OpChecks.batch(sequences, tables, cosine, sine);
    this.sequences = sequences;
    this.rotaryTables = tables;
    this.rotaryPairs = tables == 0 ? 0 : cosine.length / tables / sequences.size();
    this.maxToken = sequences.maxToken();
    this.keys = sequences.keyOffsets()[sequences.sequences()];
    this.tokens = store(sequences.tokens());
    this.targets = store(sequences.targets());
    this.offsets = store(sequences.offsets());
    this.past = store(sequences.past());
    this.keyOffsets = store(sequences.keyOffsets());
    this.cosine = store(cosine);
    this.sine = store(sine);
  }

  /**
   * The same batch as a {@code MemoryBatch}, which every batch of a backend in host memory is.
   *
   * @throws IllegalArgumentException if another backend made the batch
   */
  public static MemoryBatch of(TokenBatch batch) {
    if (batch instanceof MemoryBatch memory) {
      return memory;
    }
    throw new IllegalArgumentException(
        "a " + batch.getClass().getSimpleName() + " belongs to another backend");
  }

  @Override
  public PackedSequences sequences() {
    return sequences;
  }

  @Override
  public int rotaryPairs() {
    return rotaryPairs;
  }

  @Override
  public int rotaryTables() {
    return rotaryTables;
  }

  /** The largest token id of the batch. */
  public int maxToken() {
    return maxToken;
  }

  /** How many rows of keys, and of values, the past and new tokens of all sequences have. */
  public long keys() {
    return keys;
  }

  /** {@code [T]}: token ids. */
  public MemorySegment tokens() {
    return tokens;
  }

  /** {@code [T]}: the id that follows each token in its sequence, -1 after the last. */
  public MemorySegment targets() {
    return targets;
  }

  /** {@code [S+1]}: first token of each sequence. */
  public MemorySegment offsets() {
    return offsets;
  }

  /** {@code [S]}: number of past tokens of each sequence. */
  public MemorySegment past() {
    return past;
  }

  /** {@code [S+1]}: first key row of each sequence. */
  public MemorySegment keyOffsets() {
    return keyOffsets;
  }

  /** {@code [T, pairs]}, f32: cosines of the rotary angles of a table. */
  public MemorySegment cosine(int table) {
    return table(cosine, table);
  }

  /** {@code [T, pairs]}, f32: sines of the rotary angles of a table. */
  public MemorySegment sine(int table) {
    return table(sine, table);
  }

  private MemorySegment table(MemorySegment all, int table) {
    long bytes = 4L * sequences.size() * rotaryPairs;
    return all.asSlice(table * bytes, bytes);
  }

  @Override
  public void close() {
    arena.close();
  }

  private MemorySegment store(int[] values) {
    MemorySegment segment = arena.allocate(4L * values.length);
    MemorySegment.copy(values, 0, segment, ValueLayout.JAVA_INT, 0, values.length);
    return segment;
  }

  private MemorySegment store(float[] values) {
    MemorySegment segment = arena.allocate(4L * values.length);
    MemorySegment.copy(values, 0, segment, ValueLayout.JAVA_FLOAT, 0, values.length);
    return segment;
  }
}
