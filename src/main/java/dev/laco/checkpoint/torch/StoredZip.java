package dev.laco.checkpoint.torch;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.table.TableLimits;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.SequencedMap;

/**
 * Reads the directory of a zip archive in which every entry is stored as it is, neither compressed
 * nor encrypted (PKWARE's APPNOTE.TXT 6.3.10, with its 64-bit records). The rules are stricter than
 * those of zip readers, so that no two readers can see different entries in one file: the end
 * record ends the file, the central directory lies directly in front of it, every local header
 * agrees with the directory, no name stands twice, and no two entries overlap. Checksums are not
 * compared.
 */
final class StoredZip {
  /** Most entries: one for each tensor, and what describes the archive. */
  private static final int MAX_ENTRIES = TableLimits.MAX_TENSORS + 100;

  private static final int MAX_NAME_BYTES = 1024;

  private static final int END_SIZE = 22;
  private static final int END_64_SIZE = 56;
  private static final int LOCATOR_64_SIZE = 20;
  private static final int CENTRAL_SIZE = 46;
  private static final int LOCAL_SIZE = 30;

  private static final int END_SIGNATURE = 0x06054b50;
  private static final int END_64_SIGNATURE = 0x06064b50;
  private static final int LOCATOR_64_SIGNATURE = 0x07064b50;
  private static final int CENTRAL_SIGNATURE = 0x02014b50;
  private static final int LOCAL_SIGNATURE = 0x04034b50;

  /** Stands in a 16- or 32-bit field whose value is in a 64-bit record. */
  private static final long ELSEWHERE_16 = 0xffffL;

  private static final long ELSEWHERE_32 = 0xffff_ffffL;

  private static final int EXTRA_64 = 1;

  /** Flag: sizes may be zero in the local header, and stand behind the data. */
  private static final int SIZES_BEHIND = 1 << 3;

  /** Flag: the name is UTF-8. */
  private static final int UTF_8_NAME = 1 << 11;

  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /**
   * An entry of the archive.
   *
   * @param header the first byte of the local header, counted from the start of the file
   * @param offset the first byte of the data, counted from the start of the file
   * @param size bytes of the data
   */
  record Entry(String name, long header, long offset, long size) {
    long end() {
      return offset + size;
    }
  }

  private final Path file;
  private final MemorySegment bytes;

  /** Where the central directory begins and entries end. */
  private long directory;

  private StoredZip(Path file, MemorySegment bytes) {
    this.file = file;
    this.bytes = bytes;
  }

  /** Whether a file begins as a zip archive with at least one entry does. */
  static boolean isZip(MemorySegment bytes) {
    return bytes.byteSize() >= Integer.BYTES && bytes.get(INT, 0) == LOCAL_SIGNATURE;
  }

  /**
   * The entries of a mapped archive by name, in the order of the central directory.
   *
   * @param file names the archive in errors
   * @throws BadInputException if the archive breaks a rule; the message names file, entry and rule
   */
  static SequencedMap<String, Entry> read(Path file, MemorySegment bytes) {
    return new StoredZip(file, bytes).entries();
  }

  private SequencedMap<String, Entry> entries() {
    long end = bytes.byteSize() - END_SIZE;
    if (end < 0 || bytes.get(INT, end) != END_SIGNATURE || u16(end + 20) != 0) {
      throw bad("does not end as a zip archive without a comment does; the file is truncated");
    }
    long count = u16(end + 10);
    long size = u32(end + 12);
    directory = u32(end + 16);
    long directoryEnd = end;
    long locator = end - LOCATOR_64_SIZE;
    if (locator >= 0 && bytes.get(INT, locator) == LOCATOR_64_SIGNATURE) {
      directoryEnd = bytes.get(LONG, locator + 8);
      if (directoryEnd != locator - END_64_SIZE
          || directoryEnd < 0
          || bytes.get(INT, directoryEnd) != END_64_SIGNATURE) {
        throw bad("its 64-bit end record is not where it has to be");
      }
      count = agreed(count, ELSEWHERE_16, bytes.get(LONG, directoryEnd + 32));
      size = agreed(size, ELSEWHERE_32, bytes.get(LONG, directoryEnd + 40));
      directory = agreed(directory, ELSEWHERE_32, bytes.get(LONG, directoryEnd + 48));
    }
    if (directory < 0 || directory > directoryEnd || size != directoryEnd - directory) {
      throw bad("its central directory is not where its end record says");
    }
    if (count < 0 || count > MAX_ENTRIES) {
      throw bad(
          String.format(
              Locale.ROOT,
              "says that it has %s entries; at most %d are read",
              Long.toUnsignedString(count),
              MAX_ENTRIES));
    }
    return entries((int) count, directoryEnd);
  }

  /** The value of a field that also stands in a 64-bit record. */
  private long agreed(long field, long elsewhere, long in64) {
    if (field != elsewhere && field != in64) {
      throw bad("its two end records disagree");
    }
    return in64;
  }

  private SequencedMap<String, Entry> entries(int count, long directoryEnd) {
    SequencedMap<String, Entry> entries = new LinkedHashMap<>();
    long at = directory;
    for (int i = 0; i < count; i++) {
      if (directoryEnd - at < CENTRAL_SIZE || bytes.get(INT, at) != CENTRAL_SIGNATURE) {
        throw bad(
            String.format(
                Locale.ROOT, "its central directory ends after %d of %d entries", i, count));
      }
      long next = at + CENTRAL_SIZE + u16(at + 28) + u16(at + 30) + u16(at + 32);
      if (next > directoryEnd) {
        throw bad("its central directory is damaged");
      }
      Entry entry = entry(at);
      if (entries.put(entry.name(), entry) != null) {
        throw bad(entry.name(), "is there twice");
      }
      at = next;
    }
    if (at != directoryEnd) {
      throw bad(
          String.format(
              Locale.ROOT, "its central directory holds more than the %d entries it says", count));
    }
    requireApart(entries);
    return entries;
  }

  /** Reads an entry of the central directory and compares its local header. */
  private Entry entry(long at) {
    String name = name(at + CENTRAL_SIZE, u16(at + 28));
    int flags = u16(at + 8);
    if ((flags & ~(SIZES_BEHIND | UTF_8_NAME)) != 0) {
      throw bad(name, "is encrypted or has flags that torch.save does not write");
    }
    int method = u16(at + 10);
    if (method != 0) {
      throw bad(
          name,
          String.format(
              Locale.ROOT,
              "is compressed (method %d); torch.save stores entries as they are",
              method));
    }
    long compressed = u32(at + 20);
    long size = u32(at + 24);
    long header = u32(at + 42);
    Extra extra = new Extra(name, at + CENTRAL_SIZE + u16(at + 28), u16(at + 30));
    size = size == ELSEWHERE_32 ? extra.next() : size;
    compressed = compressed == ELSEWHERE_32 ? extra.next() : compressed;
    header = header == ELSEWHERE_32 ? extra.next() : header;
    if (size != compressed || u16(at + 34) != 0) {
      throw bad(name, "is said to take another number of bytes than it has");
    }
    return local(name, flags, header, size);
  }

  private Entry local(String name, int flags, long header, long size) {
    if (header < 0
        || header > directory - LOCAL_SIZE
        || bytes.get(INT, header) != LOCAL_SIGNATURE) {
      throw bad(name, "has no local header where the central directory says");
    }
    int nameSize = u16(header + 26);
    long offset = header + LOCAL_SIZE + nameSize + u16(header + 28);
    if (offset > directory || size < 0 || size > directory - offset) {
      throw bad(
          name,
          String.format(
              Locale.ROOT,
              "of %s bytes does not fit into a file of %d bytes; the file is truncated",
              Long.toUnsignedString(size),
              bytes.byteSize()));
    }
    if (u16(header + 6) != flags
        || u16(header + 8) != 0
        || !isSize(u32(header + 18), size, flags)
        || !isSize(u32(header + 22), size, flags)
        || !name(header + LOCAL_SIZE, nameSize).equals(name)) {
      throw bad(name, "has a local header that differs from the central directory");
    }
    return new Entry(name, header, offset, size);
  }

  private static boolean isSize(long inHeader, long size, int flags) {
    return inHeader == size
        || inHeader == ELSEWHERE_32
        || (inHeader == 0 && (flags & SIZES_BEHIND) != 0);
  }

  /** The 64-bit values of an entry of the central directory, in the order of the format. */
  private final class Extra {
    private final String name;
    private long at;
    private long end;

    Extra(String name, long begin, int size) {
      this.name = name;
      long next = begin;
      long last = begin + size;
      while (last - next >= 4) {
        int id = u16(next);
        long fieldEnd = next + 4 + u16(next + 2);
        if (fieldEnd > last) {
          break;
        }
        if (id == EXTRA_64) {
          this.at = next + 4;
          this.end = fieldEnd;
          return;
        }
        next = fieldEnd;
      }
    }

    long next() {
      if (end - at < Long.BYTES) {
        throw bad(name, "lacks the 64-bit sizes that its header refers to");
      }
      at += Long.BYTES;
      return bytes.get(LONG, at - Long.BYTES);
    }
  }

  private void requireApart(SequencedMap<String, Entry> entries) {
    List<Entry> sorted = new ArrayList<>(entries.values());
    sorted.sort(Comparator.comparingLong(Entry::header));
    for (int i = 1; i < sorted.size(); i++) {
      if (sorted.get(i).header() < sorted.get(i - 1).end()) {
        throw bad(
            sorted.get(i).name(),
            String.format(Locale.ROOT, "overlaps '%s'", Legible.excerpt(sorted.get(i - 1).name())));
      }
    }
  }

  private String name(long at, int size) {
    if (size > MAX_NAME_BYTES) {
      throw bad(
          String.format(
              Locale.ROOT, "has a name of %d bytes; at most %d are read", size, MAX_NAME_BYTES));
    }
    ByteBuffer name = bytes.asSlice(at, size).asByteBuffer();
    try {
      return UTF_8.newDecoder().decode(name).toString();
    } catch (CharacterCodingException e) {
      throw new BadInputException(file + ": has an entry whose name is not valid UTF-8", e);
    }
  }

  private int u16(long at) {
    return Short.toUnsignedInt(bytes.get(SHORT, at));
  }

  private long u32(long at) {
    return Integer.toUnsignedLong(bytes.get(INT, at));
  }

  private BadInputException bad(String name, String rule) {
    return bad(String.format(Locale.ROOT, "entry '%s' %s", Legible.excerpt(name), rule));
  }

  private BadInputException bad(String rule) {
    return new BadInputException(file + ": " + rule);
  }
}
