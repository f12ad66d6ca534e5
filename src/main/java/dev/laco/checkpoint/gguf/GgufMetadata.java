package dev.laco.checkpoint.gguf;

import dev.laco.BadInputException;
import dev.laco.Legible;
import java.io.ByteArrayOutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.SequencedSet;
import org.jspecify.annotations.Nullable;

/**
 * The metadata of a GGUF file: keys, and values that stay in the mapped file until they are asked
 * for. Valid as long as the mapping.
 */
public final class GgufMetadata {
  /** Most entries; published files have about fifty. */
  private static final int MAX_ENTRIES = 100_000;

  /** Most bytes of a key; published ones have up to about sixty. */
  private static final int MAX_KEY = 256;

  /** Most bytes of a text, such as a chat template or a token. */
  private static final int MAX_TEXT = 2 << 20;

  /** Most elements, and most bytes, of a list of which values are kept: tokens and merges. */
  private static final int MAX_KEPT = 1_000_000;

  private static final long MAX_KEPT_BYTES = 40L << 20;

  /** Most bytes of all entries: what is written for a pruned model is put together in memory. */
  private static final long MAX_BYTES = 64L << 20;

  /** Most elements of a list; the longest are merges of tokenizers, up to about half a million. */
  private static final int MAX_ELEMENTS = 10_000_000;

  /** Bytes before the elements of a list: two types and the number of elements. */
  private static final int LIST_HEAD = 2 * Integer.BYTES + Long.BYTES;

  /** Types of values, in the order of the numbers that the format gives them. */
  enum ValueType {
    UINT8(1),
    INT8(1),
    UINT16(2),
    INT16(2),
    UINT32(4),
    INT32(4),
    FLOAT32(4),
    BOOL(1),
    STRING(0),
    ARRAY(0),
    UINT64(8),
    INT64(8),
    FLOAT64(8);

    /** Bytes of a value; 0 where they differ. */
    private final int byteSize;

    ValueType(int byteSize) {
      this.byteSize = byteSize;
    }

    private String title() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /**
   * A value that was checked to lie within the file.
   *
   * @param type of the value, or of the elements of a list
   * @param count elements of a list; -1 for a single value
   * @param offset the first byte of the value, or of the first element
   * @param end the byte behind the value
   */
  private record Value(ValueType type, long count, long offset, long end) {
    boolean isList() {
      return count >= 0;
    }
  }

  private final Path file;
  private final MemorySegment bytes;
  private final SequencedMap<String, Value> values = new LinkedHashMap<>();

  private GgufMetadata(Path file, MemorySegment bytes) {
    this.file = file;
    this.bytes = bytes;
  }

  /**
   * Reads and checks {@code count} entries.
   *
   * @throws BadInputException if an entry breaks a rule of the format
   */
  static GgufMetadata read(Path file, MemorySegment bytes, GgufBytes from, long count) {
    GgufMetadata metadata = new GgufMetadata(file, bytes);
    if (count < 0 || count > MAX_ENTRIES) {
      throw from.bad(
          String.format(
              Locale.ROOT,
              "says that it has %s entries of metadata; at most %d are read",
              Long.toUnsignedString(count),
              MAX_ENTRIES));
    }
    for (long i = 0; i < count; i++) {
      String key = from.string("a key of the metadata", MAX_KEY);
      if (key.isEmpty()) {
        throw from.bad("a key of the metadata is empty");
      }
      if (metadata.values.put(key, readValue(from, key)) != null) {
        throw from.bad(where(key) + " is there twice");
      }
      if (from.position() > MAX_BYTES) {
        throw from.bad(
            String.format(
                Locale.ROOT,
                "has more than %,d bytes of metadata, up to %s; no more are read",
                MAX_BYTES,
                where(key)));
      }
    }
    return metadata;
  }

  private static Value readValue(GgufBytes from, String key) {
    String what = where(key);
    ValueType type = readType(from, what);
    if (type == ValueType.ARRAY) {
      return readList(from, what);
    }
    long begin = from.position();
    if (type == ValueType.STRING) {
      from.skipString(what);
    } else {
      requireBoolean(type, from, what);
    }
    return new Value(type, -1, begin, from.position());
  }

  private static Value readList(GgufBytes from, String what) {
    ValueType type = readType(from, what);
    if (type == ValueType.ARRAY) {
      throw from.bad(what + " is a list of lists, which no loader reads");
    }
    long count = from.int64(what);
    if (count < 0 || count > MAX_ELEMENTS) {
      throw from.bad(
          String.format(
              Locale.ROOT,
              "%s has %s elements; at most %d are read",
              what,
              Long.toUnsignedString(count),
              MAX_ELEMENTS));
    }
    long begin = from.position();
    if (type == ValueType.STRING) {
      for (long i = 0; i < count; i++) {
        from.skipString(what);
      }
    } else {
      from.skip(what, count, type.byteSize);
    }
    return new Value(type, count, begin, from.position());
  }

  private static void requireBoolean(ValueType type, GgufBytes from, String what) {
    if (type == ValueType.BOOL) {
      byte value = from.int8(what);
      if (value != 0 && value != 1) {
        throw from.bad(
            String.format(
                Locale.ROOT, "%s is %d; a bool is 0 or 1", what, Byte.toUnsignedInt(value)));
      }
    } else {
      from.skip(what, 1, type.byteSize);
    }
  }

  private static ValueType readType(GgufBytes from, String what) {
    int number = from.int32(what);
    if (number < 0 || number >= ValueType.values().length) {
      throw from.bad(
          String.format(
              Locale.ROOT,
              "%s has the value type %s, which the format does not know",
              what,
              Integer.toUnsignedString(number)));
    }
    return ValueType.values()[number];
  }

  private static String where(String key) {
    return "metadata '" + Legible.excerpt(key) + "'";
  }

  /** The keys, in the order of the file. */
  public SequencedSet<String> keys() {
    return Collections.unmodifiableSequencedSet(values.sequencedKeySet());
  }

  /** Whether there is a value of this key. */
  public boolean has(String key) {
    return values.containsKey(key);
  }

  /**
   * The text of this key; empty where there is none.
   *
   * @throws BadInputException if the value is no text, or longer than two megabytes
   */
  public Optional<String> string(String key) {
    Value value = single(key, "a string", ValueType.STRING);
    return value == null ? Optional.empty() : Optional.of((String) next(key, value, at(value)));
  }

  /**
   * The whole number of this key, of any width; empty where there is none.
   *
   * @throws BadInputException if the value is no whole number, or beyond 63 bits
   */
  public OptionalLong integer(String key) {
    Value value =
        single(
            key,
            "a whole number",
            ValueType.UINT8,
            ValueType.INT8,
            ValueType.UINT16,
            ValueType.INT16,
            ValueType.UINT32,
            ValueType.INT32,
            ValueType.UINT64,
            ValueType.INT64);
    if (value == null) {
      return OptionalLong.empty();
    }
    long number = ((Number) next(key, value, at(value))).longValue();
    if (value.type == ValueType.UINT64 && number < 0) {
      throw bad(key, "a number below 2^63");
    }
    return OptionalLong.of(number);
  }

  /**
   * The number with a fraction of this key; empty where there is none. A float32 has the value of
   * the shortest decimal that gives the same float32: 1e-5 and not 9.99999974737875e-6.
   *
   * @throws BadInputException if the value is none
   */
  public OptionalDouble number(String key) {
    Value value = single(key, "a float", ValueType.FLOAT32, ValueType.FLOAT64);
    return value == null
        ? OptionalDouble.empty()
        : OptionalDouble.of(Double.parseDouble(next(key, value, at(value)).toString()));
  }

  /**
   * The truth value of this key; empty where there is none.
   *
   * @throws BadInputException if the value is none
   */
  public Optional<Boolean> bool(String key) {
    Value value = single(key, "a bool", ValueType.BOOL);
    return value == null ? Optional.empty() : Optional.of((Boolean) next(key, value, at(value)));
  }

  /**
   * The texts of a list; none where there is no such key.
   *
   * @throws BadInputException if the value is no list of texts
   */
  public List<String> strings(String key) {
    return list(key, ValueType.STRING).stream().map(String.class::cast).toList();
  }

  /**
   * The numbers of a list of int32; none where there is no such key.
   *
   * @throws BadInputException if the value is no such list
   */
  public List<Integer> integers(String key) {
    return list(key, ValueType.INT32).stream().map(Integer.class::cast).toList();
  }

  /**
   * The numbers of a list of float32; none where there is no such key.
   *
   * @throws BadInputException if the value is no such list
   */
  public List<Float> numbers(String key) {
    return list(key, ValueType.FLOAT32).stream().map(Float.class::cast).toList();
  }

  /**
   * The truth values of a list; none where there is no such key.
   *
   * @throws BadInputException if the value is no such list
   */
  public List<Boolean> bools(String key) {
    return list(key, ValueType.BOOL).stream().map(Boolean.class::cast).toList();
  }

  /** The number of elements of a list; -1 where there is no such key, or its value is no list. */
  public long listSize(String key) {
    Value value = values.get(key);
    return value == null ? -1 : value.count;
  }

  /**
   * The value of this key as it stands in the file: its type, and its bytes.
   *
   * @throws BadInputException if it is longer than what is read of lists
   */
  public byte[] value(String key) {
    Value value = known(key);
    if (value.end - value.offset > MAX_KEPT_BYTES) {
      throw bad(key, "at most " + MAX_KEPT_BYTES + " bytes");
    }
    long begin = value.offset - (value.isList() ? LIST_HEAD : Integer.BYTES);
    return bytes.asSlice(begin, value.end - begin).toArray(ValueLayout.JAVA_BYTE);
  }

  /**
   * A list of this key in the form in which it stands in the file, with these of its elements.
   *
   * @param elements their indices, in ascending order
   */
  public byte[] value(String key, List<Integer> elements) {
    Value value = known(key);
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    copy(value.offset - LIST_HEAD, value.offset - Long.BYTES, out);
    ByteBuffer count = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    out.writeBytes(count.putLong(elements.size()).array());
    GgufBytes from = at(value);
    for (int i = 0; i < value.count; i++) {
      long begin = from.position();
      next(key, value, from);
      if (elements.contains(i)) {
        copy(begin, from.position(), out);
      }
    }
    return out.toByteArray();
  }

  private void copy(long begin, long end, ByteArrayOutputStream out) {
    out.writeBytes(bytes.asSlice(begin, end - begin).toArray(ValueLayout.JAVA_BYTE));
  }

  private Value known(String key) {
    Value value = values.get(key);
    if (value == null) {
      throw new IllegalArgumentException("no such key: " + key);
    }
    return value;
  }

  private List<Object> list(String key, ValueType type) {
    Value value = values.get(key);
    if (value == null) {
      return List.of();
    }
    if (!value.isList() || value.type != type) {
      throw bad(key, "a list of " + type.title());
    }
    if (value.count > MAX_KEPT) {
      throw bad(key, "at most " + MAX_KEPT + " elements");
    }
    GgufBytes from = at(value);
    List<Object> list = new ArrayList<>();
    for (long i = 0; i < value.count; i++) {
      list.add(next(key, value, from));
      if (from.position() - value.offset > MAX_KEPT_BYTES) {
        throw bad(key, "at most " + MAX_KEPT_BYTES + " bytes");
      }
    }
    return list;
  }

  /** The value of this key for people; of a list its type and length, {@code string[32000]}. */
  public String show(String key) {
    Value value = known(key);
    if (value.isList()) {
      return value.type.title() + "[" + value.count + "]";
    }
    Object shown = next(key, value, at(value));
    return value.type == ValueType.UINT64
        ? Long.toUnsignedString((Long) shown)
        : Legible.excerpt(shown);
  }

  private @Nullable Value single(String key, String expected, ValueType... types) {
    Value value = values.get(key);
    if (value != null && (value.isList() || !List.of(types).contains(value.type))) {
      throw bad(key, expected);
    }
    return value;
  }

  private GgufBytes at(Value value) {
    return new GgufBytes(file, bytes, value.offset);
  }

  private static Object next(String key, Value value, GgufBytes from) {
    String what = where(key);
    return switch (value.type) {
      case UINT8 -> Byte.toUnsignedInt(from.int8(what));
      case INT8 -> from.int8(what);
      case UINT16 -> Short.toUnsignedInt(from.int16(what));
      case INT16 -> from.int16(what);
      case UINT32 -> Integer.toUnsignedLong(from.int32(what));
      case INT32 -> from.int32(what);
      case FLOAT32 -> Float.intBitsToFloat(from.int32(what));
      case BOOL -> from.int8(what) != 0;
      case STRING -> from.string(what, MAX_TEXT);
      case UINT64, INT64 -> from.int64(what);
      case FLOAT64 -> Double.longBitsToDouble(from.int64(what));
      case ARRAY -> throw new IllegalStateException("a list of lists");
    };
  }

  /** The error for a value that is not what it should be. */
  public BadInputException bad(String key, String expected) {
    return new BadInputException(
        String.format(
            Locale.ROOT, "%s: %s is %s, expected %s", file, where(key), show(key), expected));
  }
}
