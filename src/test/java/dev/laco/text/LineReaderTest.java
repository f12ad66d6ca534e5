package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Lines of files, one after the other and in any order. */
class LineReaderTest {
  @TempDir Path folder;

  @Test
  void linesThatAreNotBlankAreReadInBothWays() {
    String longLine = "é".repeat(100_000);
    Path file =
        TestFiles.write(
            folder.resolve("lines"), "\uFEFFfirst\r\n\n  \t\r\n0\n" + longLine + "\nlast");
    try (LineReader lines = new LineReader(LineFile.of(file))) {
      assertEquals("first", lines.next());
      assertEquals("0", lines.next());
      assertEquals(file + ": line 4", lines.where());
      assertEquals(longLine, lines.next());
      assertEquals("last", lines.next());
      assertNull(lines.next());
    }
    LineIndex index = new LineIndex(LineFile.of(file));
    assertEquals(4, index.count());
    assertEquals("last", index.line(3));
    assertEquals(longLine, index.line(2));
    assertEquals("0", index.line(1));
    assertEquals(file + ": line 4", index.where(1));
    assertEquals("first", index.line(0));
  }

  @Test
  void aLineWithoutEndIsNoHeapFull() throws IOException {
    Path file = Files.write(folder.resolve("long"), new byte[3 << 20]);
    try (LineReader lines = new LineReader(LineFile.of(file))) {
      BadInputException refused = assertThrows(BadInputException.class, lines::next);
      assertTrue(refused.getMessage().contains("line 1 has more than 2,097,152 bytes"));
    }
  }

  @Test
  void whatIsNotUtf8IsRefusedWithItsLine() throws IOException {
    Path file = Files.write(folder.resolve("latin1"), new byte[] {'a', '\n', (byte) 0xe9, '\n'});
    try (LineReader lines = new LineReader(LineFile.of(file))) {
      assertEquals("a", lines.next());
      BadInputException refused = assertThrows(BadInputException.class, lines::next);
      assertTrue(refused.getMessage().contains("line 2 is not UTF-8"), refused::getMessage);
    }
  }
}
