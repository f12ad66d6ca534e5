package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Links between the project's documents lead somewhere, and their lines can be read. */
final class DocumentsTest {
  private static final Pattern FENCED = Pattern.compile("(?ms)^```.*?^```");
  private static final Pattern LINK = Pattern.compile("\\]\\(([^)#\\s]*)(?:#([^)\\s]*))?\\)");
  private static final Pattern HEADING = Pattern.compile("(?m)^#+ (.*)$");

  private static final Pattern TABLE_HEADING_OR_PICTURE = Pattern.compile(" *(\\||#|!\\[)");

  /** Commands and targets of links. */
  private static final Pattern UNBREAKABLE = Pattern.compile("`[^`]*`|\\]\\([^)]*\\)");

  /** Documents and sections that a source file names: {@code docs/heal.md, "What is computed"}. */
  private static final Pattern NAMED =
      Pattern.compile("(docs/[\\w/-]+\\.md)(?:\\s*(?:,\\s*|\\()\"([^\"]+)\")?");

  @Test
  void everyLinkOfADocumentLeadsToAFileAndAHeading() {
    List<String> broken = new ArrayList<>();
    for (Path document : files(".md")) {
      String text = text(document);
      for (MatchResult link : LINK.matcher(text).results().toList()) {
        String file = link.group(1);
        if (file.contains(":")) {
          continue;
        }
        Path target = file.isEmpty() ? document : document.resolveSibling(file).normalize();
        if (!Files.exists(target)
            || (link.group(2) != null && !anchors(target).contains(link.group(2)))) {
          broken.add(document + ": " + link.group());
        }
      }
    }
    assertEquals(List.of(), broken);
  }

  @Test
  void everySectionThatASourceFileNamesIsThere() {
    List<String> broken = new ArrayList<>();
    for (Path source : files(".java")) {
      String text = text(source).replaceAll("\\s*\\n\\s*(\\*|//)\\s*", " ");
      for (MatchResult name : NAMED.matcher(text).results().toList()) {
        Path document = Path.of(name.group(1));
        if (!Files.exists(document)
            || (name.group(2) != null && !headings(document).contains(name.group(2)))) {
          broken.add(source + ": " + name.group());
        }
      }
    }
    assertEquals(List.of(), broken);
  }

  @Test
  void noLineOfProseIsLongerThan120Characters() {
    List<String> tooLong = new ArrayList<>();
    for (Path document : files(".md")) {
      text(document)
          .lines()
          .filter(line -> !TABLE_HEADING_OR_PICTURE.matcher(line).lookingAt())
          .filter(line -> UNBREAKABLE.matcher(line).replaceAll("").length() > 120)
          .forEach(line -> tooLong.add(document + ": " + line));
    }
    assertEquals(List.of(), tooLong);
  }

  /** The files of the project with an ending, as far as they are not made by a build. */
  private static List<Path> files(String ending) {
    try (Stream<Path> tops = Files.list(Path.of(""))) {
      List<Path> found =
          tops.filter(top -> !Set.of("build", "target").contains(top.toString()))
              .filter(top -> !top.toString().startsWith("."))
              .flatMap(DocumentsTest::walk)
              .filter(file -> file.toString().endsWith(ending))
              .filter(file -> !file.toString().contains("/target/"))
              .sorted()
              .toList();
      assertTrue(found.size() > 10, "found " + found);
      return found;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Stream<Path> walk(Path top) {
    try {
      return Files.walk(top);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String text(Path file) {
    try {
      return FENCED.matcher(Files.readString(file)).replaceAll("");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Set<String> headings(Path document) {
    return HEADING
        .matcher(text(document))
        .results()
        .map(found -> found.group(1))
        .collect(Collectors.toSet());
  }

  /** The anchors of headings as GitHub makes them. */
  private static Set<String> anchors(Path document) {
    return headings(document).stream()
        .map(
            heading ->
                heading.toLowerCase(Locale.ROOT).replaceAll("[^\\w -]", "").replace(' ', '-'))
        .collect(Collectors.toSet());
  }
}
