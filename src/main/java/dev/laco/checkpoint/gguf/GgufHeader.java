package dev.laco.checkpoint.gguf;

import dev.laco.BadInputException;
import dev.laco.Legible;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.Set;

/**
 * What stands before the tensors of a GGUF file: metadata and the table of tensors. Versions 2 and
 * 3, little-endian. The rules are those of the format's description and of llama.cpp's reader; gaps
 * between tensors are allowed.
 *
 * @param metadata keys and values
 * @param alignment the multiple of bytes at which tensors begin
 * @param tensors by offset
 */
public record GgufHeader(GgufMetadata metadata, long alignment, List<GgufTensor> tensors) {
  /** The first four bytes of a file, as a little-endian number. */
  public static final int MAGIC = 'G' | 'G' << 8 | 'U' << 16 | 'F' << 24;

  /** The format's limit on the bytes of a tensor's name. */
  private static final int MAX_NAME = 63;

  /** The format's limit on the dimensions of a tensor. */
  private static final int MAX_RANK = 4;

  private static final String ALIGNMENT = "general.alignment";

  /** The multiple of bytes at which tensors begin where metadata say none. */
  public static final long DEFAULT_ALIGNMENT = 32;

  /** A larger alignment would only fill a file with zeros. */
  private static final long MAX_ALIGNMENT = 1 << 20;

  public GgufHeader {
    tensors = List.copyOf(tensors);
  }

  /**
   * Reads and checks the header of a mapped file.
   *
   * @param mostTensors most tensors that the file may have
   * @throws BadInputException if the header breaks a rule; the message names file, tensor or key,
   *     and rule
   */
  public static GgufHeader read(Path file, MemorySegment bytes, int mostTensors) {
    GgufBytes from = new GgufBytes(file, bytes, 0);
    if (from.int32("the beginning") != MAGIC) {
      throw from.bad("does not begin with GGUF; is this a GGUF file?");
    }
    requireVersion(from);
    long count = from.int64("the number of tensors");
    if (count < 0 || count > mostTensors) {
      throw from.bad(
          String.format(
              Locale.ROOT,
              "says that it has %s tensors; at most %d are read",
              Long.toUnsignedString(count),
              mostTensors));
    }
    long entries = from.int64("the number of entries of metadata");
    GgufMetadata metadata = GgufMetadata.read(file, bytes, from, entries);
    long alignment = alignment(metadata);
    List<GgufTensor> table = new ArrayList<>();
    for (long i = 0; i < count; i++) {
      table.add(readTensor(from, alignment));
    }
    long dataStart = Math.ceilDiv(from.position(), alignment) * alignment;
    return new GgufHeader(metadata, alignment, placed(table, dataStart, bytes.byteSize(), from));
  }

  private static void requireVersion(GgufBytes from) {
    int version = from.int32("the version");
    if (version == 2 || version == 3) {
      return;
    }
    if ((version & 0xffff) == 0 && version != 0) {
      throw from.bad(
          "is big-endian, and only little-endian files can be read; convert it with gguf-py's"
              + " gguf_convert_endian.py");
    }
    throw from.bad(
        String.format(
            Locale.ROOT,
            "is GGUF of version %s; versions 2 and 3 can be read; convert the model again",
            Integer.toUnsignedString(version)));
  }

  private static long alignment(GgufMetadata metadata) {
    OptionalLong given = metadata.integer(ALIGNMENT);
    long alignment = given.orElse(DEFAULT_ALIGNMENT);
    if (alignment <= 0 || alignment > MAX_ALIGNMENT || Long.bitCount(alignment) != 1) {
      throw metadata.bad(ALIGNMENT, "a power of two up to " + MAX_ALIGNMENT);
    }
    return alignment;
  }

  /** Reads a row, whose offset is still counted from the first byte of the tensors. */
  private static GgufTensor readTensor(GgufBytes from, long alignment) {
    String name = from.string("the name of a tensor", MAX_NAME);
    String what = "tensor '" + Legible.excerpt(name) + "'";
    int rank = from.int32(what);
    if (rank < 0 || rank > MAX_RANK) {
      throw from.bad(
          String.format(
              Locale.ROOT,
              "%s has %s dimensions, more than %d",
              what,
              Integer.toUnsignedString(rank),
              MAX_RANK));
    }
    List<Long> shape = new ArrayList<>();
    for (int i = 0; i < rank; i++) {
      long extent = from.int64(what);
      if (extent < 0) {
        throw from.bad(
            String.format(
                Locale.ROOT, "%s has an extent of %s", what, Long.toUnsignedString(extent)));
      }
      shape.addFirst(extent);
    }
    int number = from.int32(what);
    GgufType type =
        GgufType.of(number)
            .orElseThrow(
                () ->
                    from.bad(
                        String.format(
                            Locale.ROOT,
                            "%s has element type %s, which is not known here",
                            what,
                            Integer.toUnsignedString(number))));
    long offset = from.int64(what);
    if (offset < 0 || offset % alignment != 0) {
      throw from.bad(
          String.format(
              Locale.ROOT,
              "%s begins at byte %s of the data, which is no multiple of %d",
              what,
              Long.toUnsignedString(offset),
              alignment));
    }
    return new GgufTensor(name, type, shape, offset, byteSize(what, type, shape, from));
  }

  private static long byteSize(String what, GgufType type, List<Long> shape, GgufBytes from) {
    long row = shape.isEmpty() ? 1 : shape.getLast();
    if (row % type.blockElements() != 0) {
      throw from.bad(
          String.format(
              Locale.ROOT,
              "%s has rows of %d elements, no multiple of the %d of a block of %s",
              what,
              row,
              type.blockElements(),
              type));
    }
    try {
      long elements = shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact);
      return Math.multiplyExact(elements / type.blockElements(), (long) type.blockBytes());
    } catch (ArithmeticException e) {
      throw from.bad(
          String.format(Locale.ROOT, "%s: shape %s of %s overflows 64 bits", what, shape, type));
    }
  }

  /**
   * The tensors by offset in the file.
   *
   * @throws BadInputException if a name is there twice, or a tensor ends behind the file or
   *     overlaps another
   */
  private static List<GgufTensor> placed(
      List<GgufTensor> table, long dataStart, long fileSize, GgufBytes from) {
    table.sort(
        Comparator.comparingLong(GgufTensor::offset).thenComparingLong(GgufTensor::byteSize));
    List<GgufTensor> placed = new ArrayList<>();
    Set<String> names = new HashSet<>();
    long free = 0;
    for (GgufTensor tensor : table) {
      String what = "tensor '" + Legible.excerpt(tensor.name()) + "'";
      if (!names.add(tensor.name())) {
        throw from.bad(what + " is there twice");
      }
      if (tensor.offset() < free) {
        throw from.bad(what + " overlaps '" + Legible.excerpt(placed.getLast().name()) + "'");
      }
      long room = fileSize - dataStart - tensor.offset();
      if (tensor.byteSize() > room) {
        throw from.bad(
            String.format(
                Locale.ROOT,
                "%s ends behind the %d bytes of the file; the file is truncated",
                what,
                fileSize));
      }
      free = tensor.offset() + tensor.byteSize();
      placed.add(
          new GgufTensor(
              tensor.name(),
              tensor.type(),
              tensor.shape(),
              dataStart + tensor.offset(),
              tensor.byteSize()));
    }
    return placed;
  }
}
