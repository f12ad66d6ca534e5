package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TestCheckpoints;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Input without end, too long, too deep or too many: refused by name, soon, in a small heap. */
class InputLimitsTest {
  private static final String FIXTURE = "llama_linear";
  private static final String WEIGHTS = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";
  private static final Duration SOON = Duration.ofSeconds(60);

  /** Stand for a file, a checkpoint that may be written to, and a folder that is not there. */
  private static final String FILE = "FILE";

  private static final String MODEL = "MODEL";
  private static final String OUT = "OUT";

  @TempDir Path folder;
  private Path model;

  @BeforeEach
  void copyTheModel() {
    model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
  }

  static Stream<List<Object>> readersOfFiles() {
    Path words = Fixtures.STORYTELLER;
    return Stream.of(
        List.of("x.txt", "eval", words, "--text", FILE),
        List.of("x.json", "eval", MODEL, "--tokens", FILE),
        List.of("x.jsonl", "eval", words, "--last-word", FILE),
        List.of("x.txt", "prune", words, "--dry-run", "--calibration", FILE),
        List.of("x.jsonl", "prune", words, "--dry-run", "--calibration", FILE),
        List.of("x.json", "prune", MODEL, "--dry-run", "--calibration", FILE),
        List.of("x.txt", "prune", words, "--dry-run", "--fit-text", FILE),
        List.of("x.json", "prune", words, "--dry-run", "--fit-text", FILE),
        List.of("x.txt", "prune", words, "--dry-run", "--eval-text", FILE),
        List.of("x.json", "prune", words, "--dry-run", "--eval-tokens", FILE),
        List.of("plan.json", "apply", FILE, MODEL, OUT),
        List.of("model/config.json", "inspect", MODEL),
        List.of("model/" + WEIGHTS, "inspect", MODEL),
        List.of("model/tokenizer.json", "eval", MODEL),
        List.of("model/calibration.txt", "prune", MODEL, "--dry-run"));
  }

  @ParameterizedTest
  @MethodSource("readersOfFiles")
  void aPipeIsNeverOpened(List<Object> arguments) throws Exception {
    Path file = folder.resolve(arguments.getFirst().toString());
    Files.deleteIfExists(file);
    assertEquals(0, new ProcessBuilder("mkfifo", file.toString()).start().waitFor());
    assertRefused("not a regular file but a pipe, socket or device", run(arguments));
  }

  @ParameterizedTest
  @MethodSource("readersOfFiles")
  void aDeviceIsNeverRead(List<Object> arguments) throws Exception {
    Path file = folder.resolve(arguments.getFirst().toString());
    Files.deleteIfExists(file);
    Files.createSymbolicLink(file, Path.of("/dev/zero"));
    assertRefused("not a regular file but a pipe, socket or device", run(arguments));
  }

  @ParameterizedTest
  @MethodSource("readersOfFiles")
  void aFileOfManyGigabytesIsNotRead(List<Object> arguments) throws Exception {
    Path file = folder.resolve(arguments.getFirst().toString());
    try (RandomAccessFile sparse = new RandomAccessFile(file.toFile(), "rw")) {
      sparse.setLength(5L << 30);
    }
    // Weights may have any length: these have another than their header says.
    String said = file.endsWith(WEIGHTS) ? "bytes after its last tensor" : "5,368,709,120 bytes";
    assertRefused(said, run(arguments));
  }

  private ProgramRun run(List<Object> arguments) {
    Path file = folder.resolve(arguments.getFirst().toString());
    Object[] rest =
        arguments.stream()
            .skip(1)
            .map(
                a ->
                    switch (a.toString()) {
                      case FILE -> file;
                      case MODEL -> model;
                      case OUT -> folder.resolve("out");
                      default -> a;
                    })
            .toArray();
    ProgramRun run = assertTimeoutPreemptively(SOON, () -> Laco.run(rest));
    assertTrue(run.err().contains(file.toString()), run::err);
    return run;
  }

  private static void assertRefused(String said, ProgramRun run) {
    assertTrue(run.err().matches("laco: [^\\n]+\\n"), () -> "one line: " + run.err());
    assertTrue(run.err().contains(said), () -> "says " + said + ": " + run.err());
    assertTrue(run.err().length() < 2100, () -> run.err().length() + " characters");
    assertEquals(3, run.code(), run::err);
  }

  private void assertRefused(String said, Object... arguments) {
    assertRefused(said, assertTimeoutPreemptively(SOON, () -> Laco.run(arguments)));
  }

  private static String many(int count, IntFunction<String> one) {
    return IntStream.range(0, count).mapToObj(one).collect(Collectors.joining(","));
  }

  @Test
  void aHundredThousandSamplesAreEnough() {
    String[] names = {"x.txt", "x.jsonl"};
    String[] lines = {"a\n", "{\"text\":\"a\"}\n"};
    for (int i = 0; i < names.length; i++) {
      Path file = TestFiles.write(folder.resolve(names[i]), lines[i].repeat(100_001));
      for (String option : new String[] {"--calibration", "--fit-text"}) {
        if (i == 1 || option.equals("--calibration")) {
          assertRefused(
              "more than 100000 samples", "prune", Fixtures.STORYTELLER, "--dry-run", option, file);
        }
      }
    }
    Path documents = TestFiles.write(folder.resolve("fit.txt"), "a\f".repeat(100_001));
    assertRefused(
        "more than 100000 samples",
        "prune",
        Fixtures.STORYTELLER,
        "--dry-run",
        "--fit-text",
        documents);
    Path ids = TestFiles.write(folder.resolve("x.json"), "[" + "[1],".repeat(100_000) + "[1]]");
    assertRefused("more than 100000 samples", "eval", model, "--tokens", ids);
  }

  @Test
  void aLineOfJsonIsNoLongerThanADocument() {
    Path file =
        TestFiles.write(
            folder.resolve("x.jsonl"), "{\"text\":[" + "{},".repeat(1_500_000) + "0]}\n");
    assertRefused(
        "line 1 is 4,500,012 characters long",
        "prune",
        Fixtures.STORYTELLER,
        "--dry-run",
        "--calibration",
        file);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"version\":1,\"source\":{\"layers\":400000},\"layers\":[]}",
        "{\"version\":1,\"source\":{\"layers\":9},\"layers\":[MANY]}",
      })
  void aPlanHasAtMostTenThousandLayers(String text) {
    Path plan =
        TestFiles.write(
            folder.resolve("p.json"),
            text.replace(
                "MANY",
                many(10_001, i -> String.format(Locale.ROOT, "{\"base\":%d,\"mix\":{}}", i))));
    assertRefused("at most 10000", "apply", plan, model, folder.resolve("out"));
  }

  @ParameterizedTest
  @ValueSource(ints = {70, 3_000, 300_000})
  void aNameInAPlanMayHaveManyDots(int dots) {
    String name = "a.".repeat(dots) + "a";
    Path plan =
        TestFiles.write(
            folder.resolve("p.json"),
            String.format(
                Locale.ROOT,
                "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"0\":1}}],"
                    + "\"tensors\":{\"file\":\"p.safetensors\",\"sha256\":\"%s\",\"names\":[\"%s\"]}}",
                "0".repeat(64),
                name));
    assertRefused("expected at most 128 characters", "apply", plan, model, folder.resolve("out"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "1e2147483640",
        "123456789e2147483630",
        "1000e2147483640",
        "1e-2147483640",
        "123456789e2147483640",
        "-123456789e-2147483640",
        "1e400"
      })
  void anyNumberInAConfigIsCopied(String number) {
    TestCheckpoints.edit(
        model.resolve("config.json"), c -> c.replaceFirst("\\{", "{\"foo\": " + number + ","));
    Path ids = Fixtures.tokens(folder, FIXTURE, "calib");
    Path out = folder.resolve("out");
    Laco.run("prune", model, out, "--calibration", ids, "--threshold", "0.2", "--merge-layers", 2)
        .succeeded();
    assertEquals(
        0,
        new java.math.BigDecimal(number)
            .compareTo(
                new java.math.BigDecimal(
                    new String(
                            TestCheckpoints.read(out.resolve("config.json")),
                            java.nio.charset.StandardCharsets.UTF_8)
                        .replaceFirst("(?s).*\"foo\": ([^,]+),.*", "$1"))));
  }

  @ParameterizedTest
  @ValueSource(strings = {"2147483648", "[ALL]", "1e2147483640", "[[1]]", "\"x\"", "-1"})
  void anEndThatIsNoTokenEndsNothing(String id) throws IOException {
    Path words = folder.resolve("words");
    Files.createDirectory(words);
    for (String name : TestFiles.names(Fixtures.STORYTELLER)) {
      Files.createSymbolicLink(
          words.resolve(name), Fixtures.STORYTELLER.resolve(name).toAbsolutePath());
    }
    Path generation = words.resolve("generation_config.json");
    Files.delete(generation);
    // As 32-bit integers these would be all tokens there are.
    String all = many(5000, token -> Long.toString((1L << 32) + token));
    TestFiles.write(generation, "{\"eos_token_id\": " + id.replace("ALL", all) + "}");
    ProgramRun run = Laco.run("generate", words, "--prompt", "a", "--max-tokens", 2, "--json");
    assertEquals(2, run.succeeded().json().get("newTokens").intValue());
  }

  @ParameterizedTest
  @ValueSource(ints = {129, 3_000, 40_000})
  void aTensorHasAShortName(int length) {
    header("{\"%s\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", "n".repeat(length));
    assertRefused("its name has " + length + " characters", "inspect", model);
    header("{\"__metadata__\":{\"%s\":\"\"}}", "k".repeat(length));
    assertRefused("its name has " + length + " characters", "inspect", model);
  }

  @Test
  void aTensorHasFewDimensions() {
    header("{\"a\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,0]}}", many(9, i -> "0"));
    assertRefused("more than 8 numbers", "inspect", model);
  }

  private void header(String format, String value) {
    TestCheckpoints.write(
        model.resolve(WEIGHTS), String.format(Locale.ROOT, format, value), new byte[0]);
  }

  @Test
  void shardsTogetherHaveAsManyTensorsAsAFile() {
    TestCheckpoints.delete(model.resolve(WEIGHTS));
    for (int shard = 1; shard <= 2; shard++) {
      int number = shard;
      TestCheckpoints.write(
          model.resolve(String.format(Locale.ROOT, "model-0000%d-of-00002.safetensors", shard)),
          "{" + many(100_001, i -> tensor(number + "." + i)) + "}",
          new byte[0]);
    }
    assertRefused("hold more than 200000 tensors", "inspect", model);
  }

  private static String tensor(String name) {
    return "\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}} | 'a' is there twice",
        "{\"weight_map\":{\"a\":\"x\"},\"weight_map\":{\"b\":\"x\"}} | weight_map twice",
        "{\"weight_map\":{\"LONG\":\"x\"}} | its name has 5000 characters",
        "{\"weight_map\":{\"a\":\"LONG\"}} | names a file by 5000 characters",
        "{\"weight_map\":{SHARDS}} | names more than 10000 files",
        "{\"weight_map\":{TENSORS}} | more than 200000 entries",
        "{\"x\":DEEP | nesting depth",
      })
  void anIndexIsBounded(String indexAndMessage) {
    String[] parts = indexAndMessage.split(" \\| ");
    TestCheckpoints.delete(model.resolve(WEIGHTS));
    TestFiles.write(
        model.resolve(INDEX),
        parts[0]
            .replace("LONG", "n".repeat(5000))
            .replace("SHARDS", many(10_001, i -> String.format(Locale.ROOT, "\"%d\":\"%d\"", i, i)))
            .replace("TENSORS", many(200_001, i -> "\"" + i + "\":\"x\""))
            .replace("DEEP", "[".repeat(100_000)));
    assertRefused(parts[1], "inspect", model);
  }

  @Test
  void whateverIsReadFitsTheHeap() throws Exception {
    TestCheckpoints.delete(model.resolve(WEIGHTS));
    // Characters of two bytes, so that names take the most room.
    String name = "\u4e00" + "x".repeat(121);
    for (int shard = 1; shard <= 2; shard++) {
      int number = shard;
      Path file =
          model.resolve(String.format(Locale.ROOT, "model-0000%d-of-00002.safetensors", shard));
      long length =
          stream(file, "12345678{", 100_000, i -> tensor(number * 100_000 + i + name), "}") - 8;
      try (RandomAccessFile header = new RandomAccessFile(file.toFile(), "rw")) {
        header.writeLong(Long.reverseBytes(length));
      }
    }
    stream(
        model.resolve(INDEX),
        "{\"weight_map\":{",
        200_000,
        i -> {
          int number = 1 + i / 100_000;
          return "\""
              + (100_000 + i)
              + name
              + "\":\"model-0000"
              + number
              + "-of-00002.safetensors\"";
        },
        "}}");
    Path ids =
        TestFiles.write(folder.resolve("ids.json"), "[[" + "1,".repeat(8_300_000) + "999999]]");
    Path small = Fixtures.model(FIXTURE);
    assertOrderly("eval", small, "--tokens", ids);
    TestFiles.write(model.resolve("config.json"), "{\"a\":[" + "{},".repeat(699_000) + "0]}");
    assertOrderly("inspect", model);
  }

  /** Writes what need not fit the heap of this process; returns the length. */
  private static long stream(
      Path file, String before, int count, IntFunction<String> one, String after)
      throws IOException {
    try (Writer out = Files.newBufferedWriter(file)) {
      out.write(before);
      for (int i = 0; i < count; i++) {
        out.write(i == 0 ? "" : ",");
        out.write(one.apply(i));
      }
      out.write(after);
    }
    return Files.size(file);
  }

  private static void assertOrderly(Object... arguments) throws IOException {
    ProgramRun run = ProgramRun.of(ProgramRun.java(Main.class, arguments).start());
    assertTrue(run.code() == 0 || run.code() == 3, run::err);
    assertFalse(run.err().contains("memory"), run::err);
  }
}
