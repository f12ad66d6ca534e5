package dev.laco.ffi;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.charset.Charset;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Names of files have the bytes of the process's locale. */
class NativeNameTest {
  @ParameterizedTest
  @ValueSource(strings = {"UTF-8", "ISO-8859-15", "GBK", "windows-1252"})
  void aNameIsInTheEncodingOfFileNames(String encoding) {
    String name = "/models/caf\u00e9";
    String before = System.setProperty("sun.jnu.encoding", encoding);
    try (Arena arena = Arena.ofConfined()) {
      byte[] expected = (name + '\0').getBytes(Charset.forName(encoding));
      assertArrayEquals(expected, NativeName.of(name, arena).toArray(ValueLayout.JAVA_BYTE));
    } finally {
      System.setProperty("sun.jnu.encoding", before);
    }
  }
}
