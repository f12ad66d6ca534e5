package dev.laco.backend.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Reads the machine code of a fatbin: for every architecture its kernels and where each of their
 * parameters lies. A fatbin is a header and entries with a header of their own; an entry of kind 2
 * is an ELF file, whose section {@code .nv.info.<kernel>} lists attributes.
 */
final class Fatbin {
  private static final int MAGIC = 0xBA55ED50;
  private static final int ELF = 2;
  private static final String INFO = ".nv.info.";

  /** Attribute of a 16-bit size and so many bytes, {@code EIFMT_SVAL}; others are 4 bytes long. */
  private static final int SIZED = 4;

  /** {@code EIATTR_KPARAM_INFO}: index, ordinal, offset, and the size above 18 other bits. */
  private static final int PARAMETER = 0x17;

  private static final int PARAMETER_BYTES = 12;

  /**
   * A parameter of a kernel.
   *
   * @param offset among the packed arguments, bytes
   * @param size bytes
   */
  record Parameter(int offset, int size) {}

  private Fatbin() {}

  /** By architecture ({@code 90}), the parameters of every kernel. */
  static Map<Integer, Map<String, List<Parameter>>> read(byte[] fatbin) {
    ByteBuffer bytes = ByteBuffer.wrap(fatbin).order(ByteOrder.LITTLE_ENDIAN);
    if (bytes.getInt(0) != MAGIC) {
      throw new IllegalArgumentException("no fatbin");
    }
    Map<Integer, Map<String, List<Parameter>>> architectures = new TreeMap<>();
    int at = bytes.getShort(6);
    while (at < bytes.limit()) {
      int kind = bytes.getShort(at);
      int headerBytes = bytes.getInt(at + 4);
      int payloadBytes = Math.toIntExact(bytes.getLong(at + 8));
      int architecture = bytes.getInt(at + 28);
      if (kind == ELF) {
        ByteBuffer elf = bytes.slice(at + headerBytes, payloadBytes).order(ByteOrder.LITTLE_ENDIAN);
        architectures.put(architecture, kernels(elf));
      }
      at += headerBytes + payloadBytes;
    }
    return architectures;
  }

  private static Map<String, List<Parameter>> kernels(ByteBuffer elf) {
    Map<String, List<Parameter>> kernels = new TreeMap<>();
    int sections = Math.toIntExact(elf.getLong(40));
    int sectionBytes = elf.getShort(58);
    int count = elf.getShort(60);
    int names = section(elf, sections + sectionBytes * elf.getShort(62)).position();
    for (int i = 0; i < count; i++) {
      int header = sections + sectionBytes * i;
      String name = text(elf, names + elf.getInt(header));
      if (name.startsWith(INFO)) {
        kernels.put(name.substring(INFO.length()), parameters(section(elf, header)));
      }
    }
    return kernels;
  }

  /** The bytes of the section with this header. */
  private static ByteBuffer section(ByteBuffer elf, int header) {
    int offset = Math.toIntExact(elf.getLong(header + 24));
    int size = Math.toIntExact(elf.getLong(header + 32));
    return elf.duplicate().order(ByteOrder.LITTLE_ENDIAN).limit(offset + size).position(offset);
  }

  private static List<Parameter> parameters(ByteBuffer info) {
    Map<Integer, Parameter> byOrdinal = new TreeMap<>();
    while (info.remaining() >= 4) {
      int format = info.get();
      int attribute = info.get();
      int value = Short.toUnsignedInt(info.getShort());
      if (format == SIZED) {
        int start = info.position();
        if (attribute == PARAMETER && value == PARAMETER_BYTES) {
          byOrdinal.put(
              (int) info.getShort(start + 4),
              new Parameter(info.getShort(start + 6), info.getInt(start + 8) >>> 18));
        }
        info.position(start + value);
      }
    }
    return new ArrayList<>(byOrdinal.values());
  }

  private static String text(ByteBuffer elf, int at) {
    int end = at;
    while (elf.get(end) != 0) {
      end++;
    }
    byte[] bytes = new byte[end - at];
    elf.get(at, bytes);
    return new String(bytes, StandardCharsets.US_ASCII);
  }
}
