package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestCheckpoints;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever is wrong with a file: exit code 3 and one line that names the file and what it is. */
class BrokenInputTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final String CONFIG = "config.json";
  private static final String INDEX = "model.safetensors.index.json";
  private static final String SHARD = "model-00003-of-00006.safetensors";

  /** Of processor time, since the machine may be busy. */
  private static final Duration SOON = Duration.ofSeconds(2);

  private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

  @TempDir Path folder;

  /** A change to a checkpoint, the file that the message must name, and what it must say. */
  private static Arguments broken(String what, Consumer<Path> change, String file, String message) {
    return Arguments.of(what, change, file, message);
  }

  static Stream<Arguments> brokenModels() {
    return Stream.of(
        broken("truncated shard", m -> truncate(m.resolve(SHARD), 1), SHARD, "bytes"),
        broken("shard of five bytes", m -> cut(m.resolve(SHARD), 5), SHARD, "header"),
        broken("empty shard", m -> cut(m.resolve(SHARD), 0), SHARD, ""),
        broken("header too long", m -> headerLength(m, 100_000_001L), SHARD, "100000000"),
        broken("header beyond the file", m -> headerLength(m, 90_000_000L), SHARD, "header"),
        broken("negative header length", m -> headerLength(m, -1), SHARD, "header"),
        broken("header cut short", m -> headerLength(m, 100), SHARD, "JSON"),
        broken(
            "overlapping tensors",
            m ->
                header(
                    m,
                    h -> h.replaceFirst("\"data_offsets\":\\[[1-9]\\d*,", "\"data_offsets\":[0,")),
            SHARD,
            ""),
        broken(
            "header of garbage",
            m -> header(m, h -> "x" + h.substring(1)),
            SHARD,
            "does not begin with"),
        broken(
            "unknown type",
            m -> header(m, h -> h.replaceFirst("\"F32\"", "\"F99\"")),
            SHARD,
            "F99"),
        broken(
            "integer weights",
            m -> header(m, h -> h.replaceFirst("\"F32\"", "\"I32\"")),
            SHARD,
            "I32"),
        broken("renamed tensor", m -> header(m, h -> h.replaceFirst("_proj", "_porj")), "", "_p"),
        broken("missing shard", m -> delete(m.resolve(SHARD)), SHARD, ""),
        broken("shard that is a folder", m -> folderInstead(m.resolve(SHARD)), SHARD, ""),
        broken("missing layer tensor", BrokenInputTest::dropFromIndex, INDEX, "self_attn"),
        broken("config says more layers", m -> set(m, "num_hidden_layers", "9"), "", "layer 8"),
        broken("config says fewer layers", m -> set(m, "num_hidden_layers", "7"), "", "layer 7"),
        broken("wrong shape", m -> set(m, "intermediate_size", "161"), "model-", "161"),
        broken("wrong vocabulary", m -> set(m, "vocab_size", "255"), "model-", "255"),
        broken("NaN weight", m -> weight(m.resolve(SHARD), Float.NaN), SHARD, "NaN or infinity"),
        broken(
            "infinite weight",
            m -> weight(m.resolve(SHARD), Float.NEGATIVE_INFINITY),
            SHARD,
            "NaN or infinity"),
        broken("no config", m -> delete(m.resolve(CONFIG)), CONFIG, ""),
        broken("config that is a folder", m -> folderInstead(m.resolve(CONFIG)), CONFIG, ""),
        broken("empty config", m -> TestFiles.write(m.resolve(CONFIG), ""), CONFIG, ""),
        broken("config cut short", m -> cut(m.resolve(CONFIG), 100), CONFIG, "JSON"),
        broken(
            "config that is a list",
            m -> TestFiles.write(m.resolve(CONFIG), "[]"),
            CONFIG,
            "object"),
        broken("config of two objects", m -> edit(m, CONFIG, c -> c + "{}"), CONFIG, "JSON"),
        broken(
            "config with a key twice",
            m -> edit(m, CONFIG, c -> c.replaceFirst("\\{", "{\"vocab_size\": 1,")),
            CONFIG,
            "vocab_size"),
        broken(
            "config in UTF-16",
            m ->
                TestCheckpoints.writeBytes(
                    m.resolve(CONFIG), new byte[] {(byte) 0xff, (byte) 0xfe, 0}),
            CONFIG,
            ""),
        broken(
            "nesting without end",
            m -> TestFiles.write(m.resolve(CONFIG), "[".repeat(100_000)),
            CONFIG,
            ""),
        broken(
            "unknown architecture",
            m -> set(m, "architectures", "[\"XForCausalLM\"]"),
            CONFIG,
            "XForCausalLM is not supported"),
        broken("no architecture", m -> set(m, "architectures", "null"), CONFIG, "architectures"),
        broken("another model type", m -> set(m, "model_type", "\"gemma\""), CONFIG, "model_type"),
        broken("quantised", m -> set(m, "quantization_config", "{\"bits\": 4}"), CONFIG, "quantis"),
        broken("text for a number", m -> set(m, "hidden_size", "\"64\""), CONFIG, "hidden_size"),
        broken(
            "zero heads", m -> set(m, "num_attention_heads", "0"), CONFIG, "num_attention_heads"),
        broken("negative size", m -> set(m, "hidden_size", "-64"), CONFIG, "hidden_size"),
        broken("fraction", m -> set(m, "hidden_size", "64.5"), CONFIG, "hidden_size"),
        broken("huge size", m -> set(m, "hidden_size", "1e300"), CONFIG, "hidden_size"),
        broken(
            "huge depth",
            m -> set(m, "num_hidden_layers", "67108864"),
            CONFIG,
            "num_hidden_layers"),
        broken(
            "depth beyond int",
            m -> set(m, "num_hidden_layers", "4294967304"),
            CONFIG,
            "num_hidden_layers"),
        broken(
            "heads that do not divide",
            m -> set(m, "num_key_value_heads", "3"),
            CONFIG,
            "num_key_value_heads"),
        broken("NaN epsilon", m -> set(m, "rms_norm_eps", "NaN"), CONFIG, "rms_norm_eps"),
        broken("list for theta", m -> set(m, "rope_theta", "[1]"), CONFIG, "rope_theta"),
        broken("zero theta", m -> set(m, "rope_theta", "0"), CONFIG, "rope_theta"),
        broken(
            "unknown RoPE",
            m -> set(m, "rope_scaling", "{\"rope_type\": \"spiral\"}"),
            CONFIG,
            "spiral"),
        broken(
            "no factor",
            m -> set(m, "rope_scaling", "{\"rope_type\": \"linear\"}"),
            CONFIG,
            "factor"),
        broken(
            "zero factor",
            m -> set(m, "rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 0}"),
            CONFIG,
            "factor"),
        broken("unknown activation", m -> set(m, "hidden_act", "\"relu6\""), CONFIG, "hidden_act"),
        broken(
            "number for a switch",
            m -> set(m, "tie_word_embeddings", "1"),
            CONFIG,
            "tie_word_embeddings"),
        broken("empty index", m -> TestFiles.write(m.resolve(INDEX), "{}"), INDEX, "weight_map"),
        broken("index cut short", m -> cut(m.resolve(INDEX), 300), INDEX, "JSON"),
        broken(
            "index of numbers",
            m -> edit(m, INDEX, i -> i.replace("\"" + SHARD + "\"", "3")),
            INDEX,
            "not a file name"),
        broken(
            "index that leaves",
            m -> edit(m, INDEX, i -> i.replace(SHARD, "../" + SHARD)),
            INDEX,
            "not inside"),
        broken(
            "index that leaves and returns",
            m -> edit(m, INDEX, i -> i.replace(SHARD, "a/../../model/" + SHARD)),
            INDEX,
            "not inside"),
        broken(
            "absolute index",
            m -> edit(m, INDEX, i -> i.replace(SHARD, "/etc/passwd")),
            INDEX,
            "not inside"),
        broken(
            "index to no file",
            m -> edit(m, INDEX, i -> i.replace(SHARD, "")),
            INDEX,
            "not inside"),
        broken(
            "index with a NUL",
            m -> edit(m, INDEX, i -> i.replace(SHARD, "a\\u0000b")),
            INDEX,
            "no valid file"),
        broken(
            "index to config",
            m -> edit(m, INDEX, i -> i.replace(SHARD, CONFIG)),
            CONFIG,
            "header"),
        broken(
            "no weights",
            m ->
                TestFiles.names(m).stream()
                    .filter(n -> n.startsWith("model"))
                    .forEach(n -> delete(m.resolve(n))),
            "",
            "holds no weights"),
        broken(
            "bad tokenizer",
            m -> TestFiles.write(m.resolve("tokenizer.json"), "{\"model\": 3}"),
            "tokenizer.json",
            ""),
        broken(
            "tokenizer that is no JSON",
            m -> TestFiles.write(m.resolve("tokenizer.json"), "no"),
            "tokenizer.json",
            ""),
        broken(
            "empty tokenizer",
            m -> TestFiles.write(m.resolve("tokenizer.json"), ""),
            "tokenizer.json",
            ""),
        broken(
            "tokenizer that is a folder",
            m -> mkdir(m.resolve("tokenizer.json")),
            "tokenizer.json",
            ""));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("brokenModels")
  void aBrokenModelIsNamed(String what, Consumer<Path> change, String file, String message) {
    Path model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
    change.accept(model);
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    Path out = folder.resolve("out");
    assertBadInput(
        file.isEmpty() ? model.toString() : file,
        message,
        "prune",
        model,
        out,
        "--calibration",
        calibration,
        "--threshold",
        0.5,
        "--quiet");
    assertFalse(Files.exists(out));
    assertFalse(Files.exists(folder.resolve("out.report.json")));
  }

  /** Hugging Face's library ends the process that it runs in over this file. */
  @Test
  void aTokenizerThatEndsTheLibraryIsNamedWithItsComponent() {
    Path model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
    TestFiles.write(
        model.resolve("tokenizer.json"),
        """
        {"version": "1.0", "normalizer": {"type": "Precompiled", "precompiled_charsmap": "!"},
         "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
        """);
    ProgramRun run = Laco.run("generate", model, "--prompt", "a");
    assertEquals(3, run.code(), run.err());
    assertTrue(
        run.err().matches("laco: .*tokenizer.json: [^\\n]+ in its normalizer[^\\n]+\\n"),
        run.err());
  }

  private static void assertBadInput(String file, String message, Object... arguments) {
    long start = THREADS.getCurrentThreadCpuTime();
    ProgramRun run = Laco.run(arguments);
    Duration took = Duration.ofNanos(THREADS.getCurrentThreadCpuTime() - start);
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().matches("laco: [^\\n]+\\n"), "one line: " + run.err());
    assertTrue(run.err().contains(file), "names " + file + ": " + run.err());
    assertTrue(run.err().contains(message), "says " + message + ": " + run.err());
    assertTrue(took.compareTo(SOON) < 0, took::toString);
    assertEquals("", run.out());
  }

  static Stream<Arguments> brokenTokenLists() {
    return Stream.of(
        Arguments.of("", "an empty file"),
        Arguments.of("[]", "no token lists"),
        Arguments.of("[[]]", "list 0 is empty"),
        Arguments.of("[[1, 2], []]", "list 1 is empty"),
        Arguments.of("[[1, 256]]", "256"),
        Arguments.of("[[1, -1]]", "-1"),
        Arguments.of("[[1, 4294967297]]", "4294967297"),
        Arguments.of("[[1, 123456789012345678901234567890]]", "12345678901234567890"),
        Arguments.of("[[1, 2.5]]", "2.5"),
        Arguments.of("[[1, \"2\"]]", "expected token ids"),
        Arguments.of("[[1, null]]", "expected token ids"),
        Arguments.of("[[1, [2]]]", "expected token ids"),
        Arguments.of("[1, 2]", "expected a JSON list"),
        Arguments.of("{\"calib\": [[1]]}", "calib"),
        Arguments.of("\"text\"", "expected a JSON list"),
        Arguments.of("[[1, 2]", "JSON"),
        Arguments.of("[[1, 2]] [[3]]", "follows"),
        Arguments.of("tokens", "JSON"));
  }

  @ParameterizedTest
  @MethodSource("brokenTokenLists")
  void brokenTokenListsAreNamed(String text, String message) {
    Path file = TestFiles.write(folder.resolve("ids.json"), text);
    Path model = Fixtures.model(FIXTURE);
    assertBadInput("ids.json", message, "prune", model, "--dry-run", "--calibration", file);
    assertBadInput("ids.json", message, "eval", model, "--tokens", file);
    Path good = Fixtures.tokens(folder, FIXTURE, "calib");
    assertBadInput(
        "ids.json",
        message,
        "prune",
        model,
        "--dry-run",
        "--calibration",
        good,
        "--eval-tokens",
        file);
  }

  @Test
  void brokenTextsAreNamed() {
    Path model = Fixtures.STORYTELLER;
    Path empty = TestFiles.write(folder.resolve("empty.txt"), "");
    Path blank = TestFiles.write(folder.resolve("blank.txt"), "\n  \n\n");
    Path binary =
        TestCheckpoints.writeBytes(folder.resolve("latin.txt"), new byte[] {'a', (byte) 0xe9, 'b'});
    Path lines =
        TestFiles.write(folder.resolve("lines.jsonl"), "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n");
    Path nothing = TestFiles.write(folder.resolve("nothing.jsonl"), "");
    Path other = TestFiles.write(folder.resolve("samples.csv"), "a,b\n");
    Path missing = folder.resolve("missing.txt");
    assertBadInput("empty.txt", "", "prune", model, "--dry-run", "--calibration", empty);
    assertBadInput("blank.txt", "", "prune", model, "--dry-run", "--calibration", blank);
    assertBadInput("latin.txt", "UTF-8", "prune", model, "--dry-run", "--calibration", binary);
    assertBadInput("lines.jsonl", "line 2", "prune", model, "--dry-run", "--calibration", lines);
    assertBadInput("nothing.jsonl", "", "prune", model, "--dry-run", "--calibration", nothing);
    assertBadInput("samples.csv", ".txt", "prune", model, "--dry-run", "--calibration", other);
    assertBadInput(
        "missing.txt", "no such file", "prune", model, "--dry-run", "--calibration", missing);
    assertBadInput(folder.toString(), "", "prune", model, "--dry-run", "--calibration", folder);
    assertBadInput("empty.txt", "", "eval", model, "--text", empty);
    assertBadInput("latin.txt", "UTF-8", "eval", model, "--text", binary);
    assertBadInput(folder.toString(), "", "eval", model, "--text", folder);
    assertBadInput(
        "missing.txt", "no such file", "prune", model, "--dry-run", "--eval-text", missing);
  }

  @Test
  void aModelThatIsAFileIsNamed() {
    Path file = Fixtures.model(FIXTURE).resolve(CONFIG);
    assertBadInput(CONFIG, "is no folder", "inspect", file);
    assertBadInput(CONFIG, "is no folder", "prune", file, folder.resolve("out"));
  }

  static Stream<Arguments> brokenPlans() {
    return Stream.of(
        plan("empty", p -> ""),
        plan("no JSON", p -> p.substring(0, p.length() / 2)),
        plan("a list", p -> "[]"),
        plan("another version", p -> p.replaceFirst("\"version\" : 1", "\"version\" : 2")),
        plan("no version", p -> p.replaceFirst("\"version\" : 1,", "")),
        plan("no layers", p -> p.replace("\"layers\" : [", "\"lairs\" : [")),
        plan("another digest", p -> p.replace("sha256:", "sha256:0")),
        plan("another depth", p -> p.replaceFirst("\"layers\" : 8", "\"layers\" : 9")),
        plan("another architecture", p -> p.replace("LlamaForCausalLM", "QwenForCausalLM")),
        plan("a base twice", p -> p.replaceFirst("\"base\" : 1", "\"base\" : 0")),
        plan("a base beyond", p -> p.replaceFirst("\"base\" : 1,", "\"base\" : 77,")),
        plan("a negative base", p -> p.replaceFirst("\"base\" : 0", "\"base\" : -1")),
        plan("a base of text", p -> p.replaceFirst("\"base\" : 0", "\"base\" : \"0\"")),
        plan("a layer beyond", p -> p.replaceFirst("\"0\" : 1.0", "\"99\" : 1.0")),
        plan("a layer of text", p -> p.replaceFirst("\"0\" : 1.0", "\"x\" : 1.0")),
        plan("a coefficient of text", p -> p.replaceFirst("\"0\" : 1.0", "\"0\" : \"1\"")),
        plan("a coefficient beyond double", p -> p.replaceFirst("\"0\" : 1.0", "\"0\" : 1e999")),
        plan("an empty mix", p -> p.replaceFirst("\"0\" : 1.0", "")),
        plan("a mix of zero", p -> p.replaceFirst("\"0\" : 1.0", "\"0\" : 0.0")),
        plan("new tensors", p -> p.replaceFirst("\\{", "{\"tensors\": {\"file\": \"x\"},")));
  }

  private static Arguments plan(String what, UnaryOperator<String> change) {
    return Arguments.of(what, change);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("brokenPlans")
  void aBrokenPlanIsNamed(String what, UnaryOperator<String> change) {
    Path model = Fixtures.model(FIXTURE);
    Path plan = folder.resolve("plan.json");
    Laco.run(
            "prune",
            model,
            "--dry-run",
            "--plan",
            plan,
            "--threshold",
            1,
            "--calibration",
            Fixtures.tokens(folder, FIXTURE, "calib"))
        .succeeded();
    TestCheckpoints.edit(plan, change);
    assertBadInput("plan", "", "apply", plan, model, folder.resolve("out"));
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @Test
  void aPlanThatIsNotThereOrAFolderIsNamed() {
    Path model = Fixtures.model(FIXTURE);
    Path out = folder.resolve("out");
    assertBadInput("no.json", "no such file", "apply", folder.resolve("no.json"), model, out);
    assertBadInput(folder.toString(), "", "apply", folder, model, out);
  }

  @Test
  void aShardThatIsCutShortAfterItWasOpenedIsNoticedBeforeItIsRead() {
    Path model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      String name =
          checkpoint.weightNames().stream()
              .filter(n -> checkpoint.file(n).path().endsWith(SHARD))
              .findFirst()
              .orElseThrow();
      checkpoint.tensor(name);
      truncate(model.resolve(SHARD), 1);
      BadInputException e = assertThrows(BadInputException.class, () -> checkpoint.tensor(name));
      assertTrue(e.getMessage().contains(SHARD), e.getMessage());
    }
  }

  @Test
  void aShardThatIsCutShortBeforeItIsReadAheadIsNoticed() {
    Path model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      List<String> names =
          checkpoint.weightNames().stream()
              .filter(n -> checkpoint.file(n).path().endsWith(SHARD))
              .toList();
      truncate(model.resolve(SHARD), 1);
      checkpoint.prefetch(names);
      for (String name : names) {
        BadInputException e = assertThrows(BadInputException.class, () -> checkpoint.tensor(name));
        assertTrue(e.getMessage().contains(SHARD), e.getMessage());
      }
    }
  }

  private static void set(Path model, String key, String json) {
    ObjectNode config = (ObjectNode) Fixtures.read(model.resolve(CONFIG));
    JsonNode before = config.get(key);
    String text = config.without(key).toString();
    TestFiles.write(model.resolve(CONFIG), "{\"" + key + "\": " + json + ", " + text.substring(1));
    assertFalse(json.equals(String.valueOf(before)), "nothing changed");
  }

  private static void edit(Path model, String file, UnaryOperator<String> change) {
    TestCheckpoints.edit(model.resolve(file), change);
  }

  private static void truncate(Path file, long less) {
    try {
      cut(file, Files.size(file) - less);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void cut(Path file, long length) {
    try (RandomAccessFile open = new RandomAccessFile(file.toFile(), "rw")) {
      open.setLength(length);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void headerLength(Path model, long length) {
    byte[] bytes = TestCheckpoints.read(model.resolve(SHARD));
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putLong(length);
    TestCheckpoints.writeBytes(model.resolve(SHARD), bytes);
  }

  private static void header(Path model, UnaryOperator<String> change) {
    Path file = model.resolve(SHARD);
    byte[] bytes = TestCheckpoints.read(file);
    int length = (int) ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
    String before = new String(bytes, 8, length, UTF_8);
    String after = change.apply(before);
    assertFalse(after.equals(before), "nothing changed");
    byte[] data = java.util.Arrays.copyOfRange(bytes, 8 + length, bytes.length);
    TestCheckpoints.write(file, after, data);
  }

  /** Sets the last weight of a file of f32. */
  private static void weight(Path file, float value) {
    byte[] bytes = TestCheckpoints.read(file);
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putFloat(bytes.length - 4, value);
    TestCheckpoints.writeBytes(file, bytes);
  }

  /** Takes a tensor out of the index, so that the shard has one too many. */
  private static void dropFromIndex(Path model) {
    ObjectNode index = (ObjectNode) Fixtures.read(model.resolve(INDEX));
    ((ObjectNode) index.get("weight_map")).remove("model.layers.3.self_attn.q_proj.weight");
    TestFiles.write(model.resolve(INDEX), index.toString());
  }

  private static void delete(Path file) {
    try {
      Files.delete(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void mkdir(Path folder) {
    try {
      Files.createDirectory(folder);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void folderInstead(Path file) {
    delete(file);
    mkdir(file);
  }
}
