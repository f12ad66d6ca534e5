package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What scripts download is pinned: by hash from PyPI, with strict checksums by Maven. */
class DownloadsTest {
  private static final Pattern PIP =
      Pattern.compile("\\bpip\"?,? \"?(install|download)\\b[^\\n]*(\\n[^\\n]*){0,3}");

  private static final Pattern PINNED =
      Pattern.compile("[\\w.-]+==[\\w.]+( --hash=sha256:[0-9a-f]{64})+");

  @ParameterizedTest
  @ValueSource(
      strings = {
        "interop/requirements.txt",
        "scripts/cuda_toolchain.txt",
        "scripts/bundle/sanitizer.txt"
      })
  void everyRequirementIsPinnedByHash(String file) throws IOException {
    List<String> requirements =
        Files.readString(Path.of(file))
            .replaceAll("\\\\\\n *", "")
            .lines()
            .filter(line -> !line.startsWith("#"))
            .toList();
    assertTrue(requirements.size() > 0, file);
    for (String requirement : requirements) {
      assertTrue(PINNED.matcher(requirement).matches(), file + ": " + requirement);
    }
  }

  @Test
  void everyScriptThatRunsPipRequiresHashes() throws IOException {
    List<String> without = new ArrayList<>();
    int found = 0;
    for (Path script : scripts()) {
      for (String command :
          PIP.matcher(Files.readString(script, StandardCharsets.UTF_8))
              .results()
              .map(match -> match.group())
              .toList()) {
        found++;
        if (!command.contains("--require-hashes")) {
          without.add(script + ": " + command);
        }
      }
    }
    assertEquals(List.of(), without);
    assertEquals(7, found, "commands of pip");
  }

  private static List<Path> scripts() throws IOException {
    List<Path> scripts = new ArrayList<>();
    for (String folder : List.of("scripts", "interop", "bench")) {
      try (Stream<Path> files = Files.walk(Path.of(folder))) {
        files
            .filter(Files::isRegularFile)
            .filter(file -> !file.toString().matches(".*/target/.*|.*\\.(md|txt|pyc|java|jar)"))
            .forEach(scripts::add);
      }
    }
    return scripts;
  }

  @Test
  void mavenRefusesWhatDoesNotHaveItsChecksum() throws IOException {
    assertEquals(
        List.of("--strict-checksums"), Files.readAllLines(Path.of(".mvn", "maven.config")));
    assertTrue(
        Files.readString(Path.of(".mvn/wrapper/maven-wrapper.properties"))
            .matches("(?s).*\\bdistributionSha256Sum=[0-9a-f]{64}\\s*"));
  }
}
