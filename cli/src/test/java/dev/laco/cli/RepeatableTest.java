package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The same command on the same model gives the same bytes. */
class RepeatableTest {
  @TempDir Path folder;

  static Stream<Arguments> settings() {
    return Stream.of(
        Arguments.of("llama_tied_rope3", "replace", "auto"),
        Arguments.of("mistral_std", "rdsc", "auto"),
        Arguments.of("llama_mha_bias_f16", "mean", "f32"),
        Arguments.of("qwen2_bias", "rdsc:0.5", "auto"));
  }

  @ParameterizedTest
  @MethodSource("settings")
  void twoRunsAndAnAppliedPlanGiveTheSameFiles(String fixture, String rule, String compute) {
    Path model = Fixtures.model(fixture);
    Path first = folder.resolve("first");
    JsonNode report = prune(model, fixture, rule, compute, first);
    JsonNode again = prune(model, fixture, rule, compute, folder.resolve("again"));
    assertEquals(Laco.withoutTimings(report).toString(), Laco.withoutTimings(again).toString());
    TestFiles.assertSameTree(first, folder.resolve("again"));
    Laco.run(
            "apply",
            first.resolve("laco_plan.json"),
            model,
            folder.resolve("applied"),
            "--max-shard-size",
            "100KB")
        .succeeded();
    TestFiles.assertSameTree(first, folder.resolve("applied"));
  }

  private JsonNode prune(Path model, String fixture, String rule, String compute, Path out) {
    Laco.run(
            "prune",
            model,
            out,
            "--rule",
            rule,
            "--compute",
            compute,
            "--target-layers",
            6,
            "--max-shard-size",
            "100KB",
            "--calibration",
            Fixtures.tokens(folder, fixture, "calib"),
            "--eval-tokens",
            Fixtures.tokens(folder, fixture, "eval"))
        .succeeded();
    return Fixtures.read(Path.of(out + ".report.json"));
  }

  @Test
  void theTrainedModelWithItsTextsIsRepeatableToo() {
    Path calibration =
        TestFiles.write(
            folder.resolve("samples.txt"), "The king had a garden.\nIt rained all day.\n");
    for (String name : new String[] {"first", "again"}) {
      Laco.run(
              "prune",
              Fixtures.STORYTELLER,
              folder.resolve(name),
              "--threshold",
              0.9,
              "--calibration",
              calibration)
          .succeeded();
    }
    TestFiles.assertSameTree(folder.resolve("first"), folder.resolve("again"));
    JsonNode first = Fixtures.read(folder.resolve("first.report.json"));
    JsonNode again = Fixtures.read(folder.resolve("again.report.json"));
    assertEquals(Laco.withoutTimings(first).toString(), Laco.withoutTimings(again).toString());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "--dtype f32", "--dtype f16 --max-shard-size 2MB"})
  void theCommandOfTheModelCardGivesTheSameFiles(String options) throws IOException {
    Path calibration =
        TestFiles.write(
            folder.resolve("samples.txt"), "The king had a garden.\nIt rained all day.\n");
    Path out = folder.resolve("out");
    List<Object> command =
        new ArrayList<>(List.of("prune", Fixtures.STORYTELLER, out, "--target-layers", 14));
    command.addAll(List.of("--rule", "compensate", "--fit-tokens", 2048, "--samples", 0));
    command.addAll(List.of("--calibration", calibration));
    command.addAll(List.of(options.isEmpty() ? new String[0] : options.split(" ")));
    Laco.run(command.toArray()).succeeded();
    assertTrue(
        Fixtures.read(out.resolve("laco_plan.json")).at("/tensors/names").size() > 0,
        "the plan has new tensors");
    Matcher card =
        Pattern.compile("`laco (apply laco_plan\\.json ORIGINAL OUT[^`]*)`")
            .matcher(Files.readString(out.resolve("README.md")));
    assertTrue(card.find());
    Path again = folder.resolve("again");
    List<Object> apply = new ArrayList<>(List.of(card.group(1).split(" ")));
    apply.set(1, out.resolve("laco_plan.json"));
    apply.set(2, Fixtures.STORYTELLER);
    apply.set(3, again);
    assertEquals(options.isEmpty(), apply.size() == 4, card.group());
    Laco.run(apply.toArray()).succeeded();
    TestFiles.assertSameTree(out, again);
  }

  @Test
  void aModelInAHuggingFaceCacheGivesWhatThePlainFolderGives() throws IOException {
    String fixture = "llama_untied_gqa";
    Path blobs = Files.createDirectories(folder.resolve("models--x--y/blobs"));
    Path snapshot = Files.createDirectories(folder.resolve("models--x--y/snapshots/0123abcd"));
    for (String name : TestFiles.names(Fixtures.model(fixture))) {
      String blob = "blob" + Integer.toHexString(name.hashCode());
      Files.copy(Fixtures.model(fixture).resolve(name), blobs.resolve(blob));
      Files.createSymbolicLink(snapshot.resolve(name), Path.of("../../blobs", blob));
    }
    prune(snapshot, fixture, "rdsc", "auto", folder.resolve("cached"));
    prune(Fixtures.model(fixture), fixture, "rdsc", "auto", folder.resolve("plain"));
    TestFiles.assertSameTree(folder.resolve("plain"), folder.resolve("cached"));
    for (String name : TestFiles.names(folder.resolve("cached"))) {
      assertEquals(false, Files.isSymbolicLink(folder.resolve("cached").resolve(name)), name);
    }
  }
}
