package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.WriteSettings;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The programs in {@code examples} compile against the engine, and do what they say. */
class ExamplesTest {
  private static final String REQUEST =
      "{\"goal\": {\"layers\": 13}, \"rule\": \"drop\", \"search\": {\"strategy\": \"greedy\"}}";

  @TempDir static Path classes;
  @TempDir Path folder;

  @BeforeAll
  static void compile() throws IOException {
    // Against the module, so that they use nothing that is closed to an application.
    List<String> arguments =
        new ArrayList<>(
            List.of(
                "-proc:none",
                "-d",
                classes.toString(),
                "--module-path",
                modules(),
                "--add-modules",
                "dev.laco"));
    try (Stream<Path> files = Files.list(Path.of("examples"))) {
      files.map(Path::toString).filter(name -> name.endsWith(".java")).forEach(arguments::add);
    }
    assertEquals(
        0,
        ToolProvider.getSystemJavaCompiler()
            .run(null, null, null, arguments.toArray(String[]::new)));
  }

  /** The engine and the libraries whose types its interface has. */
  private static String modules() {
    return Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
        .filter(
            entry ->
                Files.exists(Path.of(entry, "module-info.class"))
                    || entry.matches(".*/(laco|jackson|jspecify|tokenizers)[^/]*\\.jar"))
        .collect(Collectors.joining(File.pathSeparator));
  }

  @Test
  void aServerPrunesTwoModelsAtOnceCancelsOneAndLeavesItsProcessAsItWas() throws Exception {
    Files.writeString(folder.resolve("request.json"), REQUEST);
    ProcessBuilder host = ProgramRun.java(ServerRun.class, Fixtures.STORYTELLER, folder);
    host.environment().keySet().removeAll(IdleThreads.VARIABLES.keySet());
    int classPath = host.command().indexOf("-cp");
    host.command()
        .set(classPath + 1, host.command().get(classPath + 1) + File.pathSeparator + classes);
    host.command()
        .addAll(
            classPath,
            List.of(
                "-Duser.language=ar",
                "-Duser.country=EG",
                "--add-opens=java.base/java.lang=ALL-UNNAMED"));
    ProgramRun run = ProgramRun.of(host.start()).succeeded();
    assertEquals("", run.out());
    assertEquals("", run.err());
    assertFalse(Files.exists(folder.resolve("cancelled")));
    Path expected = folder.resolve("command");
    PruneRequest request = Request.read(folder.resolve("request.json"), PruneRequest.class);
    try (Model model = Model.open(Fixtures.STORYTELLER);
        PruneJob job = new PruneJob(model, DeviceSettings.of("cpu"), request)) {
      job.run().writeTo(expected, WriteSettings.DEFAULT);
    }
    TestFiles.assertSameTree(expected, folder.resolve("kept"));
  }

  @Test
  void aScorerOfOnesOwnDecides() throws Exception {
    String layers = run("OwnScorer", Fixtures.STORYTELLER, 14);
    assertTrue(layers.matches("kept .*removed .*\\R"), layers);
    for (int kept : new int[] {4, 8, 12}) {
      assertFalse(
          layers.replaceFirst(".*removed ", " ").matches("(?s).*\\b" + kept + "\\b.*"), layers);
    }
  }

  @Test
  void waysAreComparedBestFirst() throws Exception {
    String rows = run("CompareWays", Fixtures.STORYTELLER, 12, "last", "shortgpt");
    assertTrue(
        rows.matches("shortgpt +perplexity [0-9.]+.*\\Rlast +perplexity [0-9.]+.*\\R"), rows);
  }

  /** What an example prints in a JVM of its own. */
  private static String run(String example, Object... arguments) throws Exception {
    ProcessBuilder process = ProgramRun.java(ExamplesTest.class, arguments);
    int classPath = process.command().indexOf("-cp");
    process
        .command()
        .set(classPath + 1, process.command().get(classPath + 1) + File.pathSeparator + classes);
    process
        .command()
        .replaceAll(word -> word.equals(ExamplesTest.class.getName()) ? example : word);
    return ProgramRun.of(process.start()).succeeded().out();
  }
}
