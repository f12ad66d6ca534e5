package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What models are called in results and in the names of files. */
class ModelNameTest {
  private static final String FIXTURE = "llama_untied_gqa";

  @TempDir Path folder;

  @Test
  void aSnapshotOfTheHubHasTheNameOfItsRepository() {
    Path cache = Path.of("cache/hub");
    assertEquals("m-8b", Model.name(cache.resolve("models--some-org--m-8b/snapshots/0123abcd")));
    assertEquals("gpt2", Model.name(cache.resolve("models--gpt2/snapshots/0123abcd")));
    assertEquals("0123abcd", Model.name(Path.of("mine/snapshots/0123abcd")));
    assertEquals("model.gguf", Model.name(Path.of("folder/model.gguf")));
    assertEquals("models", Model.name(Path.of("models/storyteller/..")));
    assertEquals("/", Model.name(Path.of("/")));
  }

  @Test
  void filesAndPagesHaveTheNameOfTheRepository() throws IOException {
    Path repository = folder.resolve("hub/models--some-org--a.model");
    Path snapshot = Files.createDirectories(repository.resolve("snapshots/0123abcd"));
    link(Fixtures.model(FIXTURE), snapshot);
    TestFiles.write(
        Files.createDirectories(repository.resolve("refs")).resolve("main"), "0123abcd");
    Path here = Files.createDirectory(folder.resolve("here"));
    ProcessBuilder sweep =
        ProgramRun.java(
            Main.class,
            "sweep",
            "some-org/a.model",
            "--layers=7",
            "--rule=drop",
            "--calibration",
            Fixtures.tokens(folder, FIXTURE, "calib"),
            "--eval-tokens",
            Fixtures.tokens(folder, FIXTURE, "eval"));
    sweep.environment().put("HF_HUB_CACHE", folder.resolve("hub").toString());
    ProgramRun.of(sweep.directory(here.toFile()).start()).succeeded();
    assertEquals(List.of("a.model.sweep"), TestFiles.names(here));
    String page = Files.readString(here.resolve("a.model.sweep/sweep.html"));
    assertTrue(page.contains("a.model: quality over size"), page.substring(0, 400));
  }

  @Test
  void resultsOfAModelThatIsCalledByDotsStayInTheirFolder() throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    link(Fixtures.STORYTELLER, model);
    Path here = Files.createDirectory(model.resolve("here"));
    ProcessBuilder eval =
        ProgramRun.java(
            Main.class,
            "eval",
            "..",
            "--tasks=copa",
            "--limit=1",
            "--data",
            Path.of("src/test/resources/tasks").toAbsolutePath(),
            "--out",
            folder.resolve("out"));
    ProgramRun.of(eval.directory(here.toFile()).start()).succeeded();
    assertEquals(List.of("model", "out"), TestFiles.names(folder));
    assertEquals(List.of("model"), TestFiles.names(folder.resolve("out")));
    String index = Files.readString(folder.resolve("out/model/model-index.md"));
    assertTrue(index.contains("name: model"), index);
  }

  private static void link(Path from, Path to) throws IOException {
    for (String name : TestFiles.names(from)) {
      Files.createSymbolicLink(to.resolve(name), from.resolve(name).toAbsolutePath());
    }
  }
}
