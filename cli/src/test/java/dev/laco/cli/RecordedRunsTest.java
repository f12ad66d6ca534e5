package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/**
 * Command lines with what they print, recorded when nothing but the command line could prune; what
 * was changed on purpose since then is recorded as it is now. With {@code -Dlaco.record=FILE} the
 * commands of the resource are run and recorded anew.
 */
class RecordedRunsTest {
  private static final String FIXTURE = "llama_tied_rope3";
  private static final String NEXT = "$ laco ";

  @TempDir Path folder;

  @TestFactory
  Stream<DynamicTest> everyCommandPrintsWhatItPrinted() throws IOException {
    String recorded =
        new String(
            RecordedRunsTest.class.getResourceAsStream("/recorded/runs.txt").readAllBytes(), UTF_8);
    List<String> runs =
        Arrays.stream(recorded.split("(?m)^(?=\\$ laco )")).filter(run -> !run.isBlank()).toList();
    String target = System.getProperty("laco.record");
    List<String> again = new ArrayList<>();
    for (String run : runs) {
      if (run.startsWith(NEXT)) {
        again.add(record(run.lines().findFirst().orElseThrow()));
      }
    }
    if (target != null) {
      Files.writeString(Path.of(target), String.join("", again));
    }
    return Stream.iterate(0, i -> i < again.size(), i -> i + 1)
        .map(
            i ->
                DynamicTest.dynamicTest(
                    runs.get(i).lines().findFirst().orElseThrow(),
                    () -> assertEquals(runs.get(i), again.get(i))));
  }

  private String record(String command) {
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    Path evaluation = Fixtures.tokens(folder, FIXTURE, "eval");
    Object[] arguments =
        Arrays.stream(command.substring(NEXT.length()).split(" "))
            .map(
                word ->
                    word.replace("MODEL", Fixtures.model(FIXTURE).toString())
                        .replace("CALIBRATION", calibration.toString())
                        .replace("EVALUATION", evaluation.toString())
                        .replace("FOLDER", folder.toString()))
            .toArray();
    ProgramRun run = Laco.run(arguments);
    return command
        + "\nexit "
        + run.code()
        + "\n"
        + lines("out", run.out())
        + lines("err", run.err());
  }

  private String lines(String stream, String text) {
    StringBuilder lines = new StringBuilder();
    plain(text)
        .replace(Fixtures.model(FIXTURE).toString(), "MODEL")
        .replace(folder.toString(), "FOLDER")
        .lines()
        .forEach(line -> lines.append((stream + " | " + line).stripTrailing()).append('\n'));
    return lines.toString();
  }

  /** Of a JSON document its keys. */
  private static String plain(String text) {
    if (!text.startsWith("{")) {
      return text;
    }
    try {
      TreeSet<String> keys = new TreeSet<>();
      addKeys("", new ObjectMapper().readTree(text), keys);
      return String.join("\n", keys);
    } catch (JsonProcessingException e) {
      return text;
    }
  }

  private static void addKeys(String path, JsonNode json, TreeSet<String> keys) {
    if (json.isObject()) {
      json.properties()
          .forEach(entry -> addKeys(path + "/" + entry.getKey(), entry.getValue(), keys));
    } else if (json.isArray() && !json.isEmpty()) {
      json.forEach(element -> addKeys(path + "/-", element, keys));
    } else {
      keys.add(path);
    }
  }
}
