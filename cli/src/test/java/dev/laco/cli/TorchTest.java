package dev.laco.cli;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TorchFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Checkpoints in files of torch.save: nothing comes out differently, and nothing of them is run.
 */
class TorchTest {
  private static final String FIXTURE = "llama_tied_rope3";

  @TempDir Path folder;

  @Test
  void pruneAndApplyGiveTheFilesThatSafetensorsGive() {
    Path torch = TorchFiles.copy(Fixtures.model(FIXTURE), folder.resolve("torch"), 3);
    Path expected = folder.resolve("expected");
    Path found = folder.resolve("found");
    prune(Fixtures.model(FIXTURE), expected);
    prune(torch, found);
    TestFiles.assertSameTree(expected, found);
    Path again = folder.resolve("again");
    Laco.run("apply", expected.resolve("laco_plan.json"), torch, again).succeeded();
    TestFiles.assertSameTree(expected, again);
  }

  /** A prune to a size in bytes, which the second copy of a tied head must not change. */
  private void prune(Path model, Path out) {
    Path tokens = Fixtures.tokens(folder, FIXTURE, "calib");
    Laco.run(
            "prune",
            model,
            out,
            "--target-bytes",
            "800KB",
            "--rule",
            "fit",
            "--calibration",
            tokens,
            "--fit-text",
            tokens,
            "--quiet")
        .succeeded();
  }

  @Test
  void inspectAndEvalSayWhatTheySayOfSafetensors() {
    Path torch = TorchFiles.copy(Fixtures.STORYTELLER, folder.resolve("torch"), 2);
    JsonNode expected = Laco.run("inspect", Fixtures.STORYTELLER, "--json").succeeded().json();
    JsonNode found = Laco.run("inspect", torch, "--json").succeeded().json();
    for (String key : new String[] {"digest", "parameters", "bytes", "dtype"}) {
      assertEquals(expected.get(key), found.get(key));
    }
    assertEquals(
        eval(Fixtures.STORYTELLER).get("meanNll"),
        eval(torch, "--host-memory", "173MB").get("meanNll"));
  }

  private static JsonNode eval(Path model, Object... options) {
    Object[] arguments = {"eval", model, "--text", "models/storyteller/evaluation.txt", "--json"};
    return Laco.run(Stream.of(arguments, options).flatMap(Arrays::stream).toArray())
        .succeeded()
        .json();
  }

  @Test
  void aPickleThatCallsIsRefusedAndNothingIsCalled() throws Exception {
    Path model = TorchFiles.copy(Fixtures.model(FIXTURE), folder.resolve("torch"), 1);
    Path proof = folder.resolve("proof");
    String command = "touch " + proof;
    String pickle =
        "\u0080\u0004\u008c\2os\u008c\6system\u0093\u008c"
            + (char) command.length()
            + command
            + "\u0085R.";
    Files.write(
        model.resolve("pytorch_model.bin"),
        TorchFiles.archive(pickle.getBytes(ISO_8859_1), Map.of()));
    String expected =
        "laco: "
            + model
            + "/pytorch_model.bin: data.pkl: has at byte 14 the name os.system, which weights are not"
            + " made of; nothing of it was run; take the model as safetensors\n";
    Object[] text = {"--text", "models/storyteller/evaluation.txt"};
    for (ProgramRun run :
        List.of(
            Laco.run("inspect", model),
            Laco.run("eval", model, text[0], text[1]),
            Laco.run("prune", model, folder.resolve("out")))) {
      assertEquals(3, run.code());
      assertEquals(expected, run.err());
    }
    assertFalse(Files.exists(proof));
    assertFalse(Files.exists(folder.resolve("out")));
  }
}
