package dev.laco;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/** Files that tests write, and folders that tests compare. */
public final class TestFiles {
  private TestFiles() {}

  /** Writes a text file. */
  public static Path write(Path file, String text) {
    try {
      return Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Names of what lies in a folder. */
  public static List<String> names(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Every file of a folder: its name and its bytes, a char each. */
  public static Map<String, String> tree(Path folder) {
    Map<String, String> files = new TreeMap<>();
    for (String name : names(folder)) {
      try {
        files.put(name, new String(Files.readAllBytes(folder.resolve(name)), ISO_8859_1));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
    return files;
  }

  /** Checks that two folders hold the same files, byte for byte. */
  public static void assertSameTree(Path expected, Path found) {
    Map<String, String> a = tree(expected);
    Map<String, String> b = tree(found);
    assertEquals(a.keySet(), b.keySet());
    a.forEach(
        (name, bytes) -> {
          if (!bytes.equals(b.get(name))) {
            throw new AssertionError(name + " differs between " + expected + " and " + found);
          }
        });
  }
}
