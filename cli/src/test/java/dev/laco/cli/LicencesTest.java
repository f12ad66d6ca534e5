package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarFile;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** What the archives carry of others is under a licence that {@code licenses/} names. */
class LicencesTest {
  private static final Path LICENCES = Path.of("licenses");

  /**
   * @param pattern of a file's name, as a shell has them
   * @param texts names of files, without their suffix
   */
  private record Line(String pattern, List<String> texts) {
    boolean names(String file) {
      return FileSystems.getDefault().getPathMatcher("glob:" + pattern).matches(Path.of(file));
    }
  }

  private static List<Line> table() throws IOException {
    return Files.readAllLines(LICENCES.resolve("table.txt")).stream()
        .filter(line -> !line.startsWith("#"))
        .map(line -> line.split(" +", 3))
        .map(fields -> new Line(fields[0], List.of(fields[1].split(","))))
        .toList();
  }

  @Test
  void everyJarAndEveryNativeLibraryInItHasALicence() throws IOException {
    List<Line> table = table();
    Set<String> without = new TreeSet<>();
    int jars = 0;
    for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
      Path jar = Path.of(entry);
      // ArchUnit is for the build.
      if (entry.endsWith(".jar") && !jar.getFileName().toString().startsWith("archunit")) {
        jars++;
        for (String name : names(jar)) {
          if (table.stream().noneMatch(line -> line.names(name))) {
            without.add(name + " of " + entry);
          }
        }
      }
    }
    assertEquals(Set.of(), without);
    assertTrue(jars > 20, "only " + jars + " jars were looked into");
  }

  /** The jar's, and those of the libraries for this platform in it. */
  private static List<String> names(Path jar) throws IOException {
    List<String> names = new ArrayList<>(List.of(jar.getFileName().toString()));
    try (JarFile file = new JarFile(jar.toFile())) {
      file.stream()
          .map(entry -> entry.getName())
          .filter(name -> name.matches("(?i).*linux[-/](x86[-_]64|amd64).*\\.so[.0-9]*"))
          .map(name -> name.substring(name.lastIndexOf('/') + 1))
          .forEach(names::add);
    }
    return names;
  }

  @Test
  void everyTextIsThereAndIsNeeded() throws IOException {
    Set<String> named = new TreeSet<>();
    table().forEach(line -> named.addAll(line.texts()));
    Set<String> there = new TreeSet<>();
    try (Stream<Path> files = Files.list(LICENCES)) {
      for (Path file : files.toList()) {
        assertTrue(Files.size(file) > 500, file + " is no licence");
        there.add(file.getFileName().toString().replaceAll("\\.txt$", ""));
      }
    }
    there.remove("table");
    assertEquals(there, named);
    assertTrue(Files.readString(Path.of("NOTICE")).contains("licenses/table.txt"));
  }
}
