package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** An engine in a JVM that is not its own changes nothing of it, and depends on nothing of it. */
class EmbeddedTest {
  private static final String ROOT = "-Duser.language=";

  @TempDir static Path folder;
  private static Path expected;

  @BeforeAll
  static void pruneInNoLocale() throws Exception {
    expected = prune("root", ROOT);
    assertTrue(Files.exists(expected.resolve("model-00002-of-00009.safetensors")));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "-Duser.language=hi -Duser.country=IN -Duser.extensions=u-nu-deva",
        "-Duser.language=tr -Duser.country=TR"
      })
  void theOutputIsTheSameInEveryLocale(String options) throws Exception {
    Path out = prune("out" + options.hashCode(), options.split(" "));
    TestFiles.assertSameTree(expected, out);
  }

  /** Prunes in a JVM of its own, which must be as before afterwards. */
  private static Path prune(String name, String... options) throws Exception {
    Path out = folder.resolve(name);
    ProcessBuilder host = ProgramRun.java(EmbeddedRun.class, Fixtures.STORYTELLER, out);
    List<String> more = new ArrayList<>(Arrays.asList(options));
    more.add("--add-opens=java.base/java.lang=ALL-UNNAMED");
    host.environment().keySet().removeAll(IdleThreads.VARIABLES.keySet());
    host.command().addAll(host.command().indexOf("-cp"), more);
    ProgramRun run = ProgramRun.of(host.start()).succeeded();
    assertEquals("", run.out());
    assertEquals("", run.err());
    return out;
  }
}
