package dev.laco.ffi;

import java.io.ByteArrayOutputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.Charset;
import java.nio.file.Path;

/**
 * Names of files as the C library takes them: bytes that end with 0. Which bytes a character has is
 * a matter of the process's locale, and not always that of UTF-8.
 */
public final class NativeName {
  private NativeName() {}

  /** The name of a file that a user or a property gave as text, in the encoding of file names. */
  public static MemorySegment of(String name, Arena arena) {
    byte[] bytes = name.getBytes(Charset.forName(System.getProperty("sun.jnu.encoding")));
    return terminated(bytes, bytes.length, arena);
  }

  /**
   * The absolute path of a file, byte for byte. A path that was read from a folder may have bytes
   * that are no text in the locale; only its URI tells them.
   */
  public static MemorySegment of(Path path, Arena arena) {
    String uri = path.toUri().getRawPath();
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int i = 0; i < uri.length(); i++) {
      if (uri.charAt(i) == '%') {
        bytes.write(Integer.parseInt(uri, i + 1, i + 3, 16));
        i += 2;
      } else {
        bytes.write(uri.charAt(i));
      }
    }
    byte[] name = bytes.toByteArray();
    // The URI of a folder ends with a slash, by which the C library would follow a link.
    int length = name.length > 1 && name[name.length - 1] == '/' ? name.length - 1 : name.length;
    return terminated(name, length, arena);
  }

  private static MemorySegment terminated(byte[] name, int length, Arena arena) {
    MemorySegment segment = arena.allocate(length + 1L);
    MemorySegment.copy(name, 0, segment, ValueLayout.JAVA_BYTE, 0, length);
    return segment;
  }
}
