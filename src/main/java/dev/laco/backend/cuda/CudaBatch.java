package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.backend.OpChecks;
import dev.laco.backend.TokenBatch;
import dev.laco.model.PackedSequences;
import java.lang.foreign.MemorySegment;
import java.util.stream.IntStream;

/**
 * A batch of tokens in device memory, with all tables in one buffer. All integers are 32 bits wide.
 */
final class CudaBatch implements TokenBatch {
  private static final long ALIGNMENT = 16;

  /**
   * Buffers are multiples of this size, so that a generation finds the memory of an earlier batch
   * for its next, slightly larger one.
   */
  private static final long GRANULARITY = 1L << 16;

  private final PackedSequences sequences;
  private final int rotaryTables;
  private final int rotaryPairs;
  private final int maxToken;
  private final int longest;
  private final long keys;
  private final long tokens;
  private final long targets;
  private final long offsets;
  private final long past;
  private final long keyOffsets;
  private final long keyRows;
  private final long cosine;
  private final long sine;
  private final DeviceBuffer buffer;
  private boolean closed;

  /** Copies the sequences and tables to the device, in the order of the context's stream. */
  CudaBatch(
      PackedSequences sequences,
      int tables,
      float[] cosine,
      float[] sine,
      CudaContext context,
      Staging staging) {
    OpChecks.batch(sequences, tables, cosine, sine);
    this.sequences = sequences;
    this.rotaryTables = tables;
    this.rotaryPairs = tables == 0 ? 0 : cosine.length / tables / sequences.size();
    this.maxToken = sequences.maxToken();
    this.keys = sequences.keyOffsets()[sequences.sequences()];
    this.longest = IntStream.range(0, sequences.sequences()).map(sequences::length).max().orElse(0);
    Layout layout = new Layout();
    this.tokens = layout.place(sequences.size());
    this.targets = layout.place(sequences.size());
    this.offsets = layout.place(sequences.sequences() + 1);
    this.past = layout.place(sequences.sequences());
    this.keyOffsets = layout.place(sequences.sequences() + 1);
    this.keyRows = layout.place(sequences.size());
    this.cosine = layout.place(cosine.length);
    this.sine = layout.place(sine.length);
    long rounded = Math.ceilDiv(layout.end, GRANULARITY) * GRANULARITY;
    this.buffer = new DeviceBuffer(context, rounded, "a batch of tokens");
    MemorySegment all = MemorySegment.ofArray(new long[Math.toIntExact(layout.end / Long.BYTES)]);
    store(sequences.tokens(), all, tokens);
    store(sequences.targets(), all, targets);
    store(sequences.offsets(), all, offsets);
    store(sequences.past(), all, past);
    store(sequences.keyOffsets(), all, keyOffsets);
    store(sequences.keyRows(), all, keyRows);
    MemorySegment.copy(cosine, 0, all, JAVA_FLOAT, this.cosine, cosine.length);
    MemorySegment.copy(sine, 0, all, JAVA_FLOAT, this.sine, sine.length);
    staging.upload(all, buffer.address(), context.stream());
  }

  /**
   * The same batch as a {@code CudaBatch}, which every batch of this backend is.
   *
   * @throws IllegalArgumentException if another backend made the batch
   */
  static CudaBatch of(TokenBatch batch) {
    if (batch instanceof CudaBatch cuda) {
      return cuda;
    }
    throw new IllegalArgumentException(
        "a " + batch.getClass().getSimpleName() + " belongs to another backend");
  }

  private static void store(int[] values, MemorySegment all, long at) {
    MemorySegment.copy(values, 0, all, JAVA_INT, at, values.length);
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
  int maxToken() {
    return maxToken;
  }

  /** Tokens of the longest sequence. */
  int longest() {
    return longest;
  }

  /** How many rows of keys, and of values, the past and new tokens of all sequences have. */
  long keys() {
    return keys;
  }

  /** Address of {@code [T]}: token ids. */
  long tokens() {
    return address(tokens);
  }

  /** Address of {@code [T]}: the id that follows each token in its sequence, -1 after the last. */
  long targets() {
    return address(targets);
  }

  /** Address of {@code [S+1]}: first token of each sequence. */
  long offsets() {
    return address(offsets);
  }

  /** Address of {@code [S]}: number of past tokens of each sequence. */
  long past() {
    return address(past);
  }

  /** Address of {@code [S+1]}: first key row of each sequence. */
  long keyOffsets() {
    return address(keyOffsets);
  }

  /** Address of {@code [T]}: the row of the keys of each token. */
  long keyRows() {
    return address(keyRows);
  }

  /** Address of {@code [T, pairs]}, f32: cosines of the rotary angles of a table. */
  long cosine(int table) {
    return address(cosine + table(table));
  }

  /** Address of {@code [T, pairs]}, f32: sines of the rotary angles of a table. */
  long sine(int table) {
    return address(sine + table(table));
  }

  private long table(int table) {
    return (long) table * sequences.size() * rotaryPairs * Float.BYTES;
  }

  private long address(long at) {
    if (closed) {
      throw new IllegalStateException("the batch is closed");
    }
    return buffer.address() + at;
  }

  @Override
  public void close() {
    if (!closed) {
      closed = true;
      buffer.close();
    }
  }

  /** Assigns offsets in one buffer to tables of 4-byte elements. */
  private static final class Layout {
    private long end;

    long place(long elements) {
      long start = end;
      end = (start + 4 * elements + ALIGNMENT - 1) & -ALIGNMENT;
      return start;
    }
  }
}
