package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.util.RawValue;
import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MissingTokenizer;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.Sha256;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.gguf.TestGguf;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.NewWeights;
import dev.laco.prune.GivenPlan;
import dev.laco.text.CalibrationSet;
import dev.laco.text.ClozeSet;
import dev.laco.text.FitText;
import dev.laco.text.Tokenizer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Seven thousand damaged files of every kind, in a process with the launcher's heap: done or
 * refused by one line, soon, and never for want of memory.
 */
class ManyInputsFuzzTest {
  private static final int INPUTS = 7_060;

  @TempDir Path folder;

  @Test
  void everyDamagedFileIsReadOrRefusedByALine() throws IOException {
    ProgramRun run =
        ProgramRun.of(ProgramRun.java(Inputs.class, folder).redirectErrorStream(true).start());
    assertEquals(0, run.code(), run.out());
    Map<String, Integer> counts = new TreeMap<>();
    for (String line : run.out().lines().toList()) {
      String[] words = line.split(" ");
      counts.put(words[0], Integer.parseInt(words[1]));
      // Damage that nobody notices says nothing of the reader.
      assertTrue(Integer.parseInt(words[2]) > 0, line);
    }
    assertEquals(INPUTS, counts.values().stream().mapToInt(n -> n).sum(), counts::toString);
  }

  /** What the other process does. */
  static final class Inputs {
    private static final JsonMapper JSON = new JsonMapper();

    /** Of processor time, since the machine may be busy. */
    private static final long SOON_NANOS = 10_000_000_000L;

    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    private final Path folder;
    private final Path model;

    private Inputs(Path folder) throws IOException {
      this.folder = folder;
      this.model = linked("qwen2_bias", "model");
    }

    public static void main(String[] args) throws IOException {
      new Inputs(Path.of(args[0])).run();
    }

    /** A way to use a damaged file. */
    private interface Use {
      ProgramRun run() throws IOException;
    }

    private Path linked(String fixture, String name) throws IOException {
      Path copy = Files.createDirectory(folder.resolve(name));
      Path original = Fixtures.model(fixture);
      for (String file : TestFiles.names(original)) {
        Files.createSymbolicLink(copy.resolve(file), original.resolve(file).toAbsolutePath());
      }
      return copy;
    }

    private void run() throws IOException {
      Path config = model.resolve("config.json");
      fuzz(1, 1200, config, json(config), () -> Laco.run("inspect", model));
      Path index = model.resolve("model.safetensors.index.json");
      fuzz(2, 700, index, json(index), () -> Laco.run("inspect", model));
      Path shard = model.resolve("model-00002-of-00006.safetensors");
      fuzz(3, 1000, shard, weights(shard), () -> Laco.run("inspect", model));
      tokens();
      plans();
      locks();
      texts();
      gguf();
    }

    private void tokens() throws IOException {
      Path ids = TestFiles.write(folder.resolve("ids.json"), "[[1, 2, 3, 4], [5, 6, 7]]");
      Path small = Fixtures.model("llama_linear");
      fuzz(4, 100, ids, json(ids), () -> eval(small, ids));
    }

    private static ProgramRun eval(Path model, Path ids) {
      return Laco.run("eval", model, "--tokens", ids, "--threads", 1, "--compute", "f32");
    }

    private void plans() throws IOException {
      Path plan = folder.resolve("p.json");
      Path side = folder.resolve("p.safetensors");
      Path out = folder.resolve("out");
      try (Checkpoint checkpoint = Checkpoint.open(model)) {
        PlanTensors tensors =
            new PlanTensors(NewWeights.NONE.with(checkpoint.tensor("model.norm.weight")));
        tensors.write(side);
        TestFiles.write(
            plan,
            CollapsePlan.identity(PlanApplier.source(checkpoint))
                .withTensors(tensors.named("p.safetensors"))
                .toJsonText());
      }
      fuzz(5, 100, plan, json(plan), () -> Laco.run("apply", plan, model, out, "--overwrite"));
      fuzz(16, 600, plan, json(plan), () -> read(() -> GivenPlan.read(plan).close()));
      ObjectNode node = (ObjectNode) Fixtures.read(plan);
      fuzz(
          6,
          200,
          side,
          weights(side),
          () -> {
            ((ObjectNode) node.get("tensors")).put("sha256", Sha256.of(side));
            TestFiles.write(plan, node.toString());
            return Laco.run("apply", plan, model, out, "--overwrite");
          });
    }

    /** Metadata and table of tensors; the data has far more bytes. */
    private void gguf() throws IOException {
      Path ids = TestFiles.write(folder.resolve("few.json"), "[[1, 2, 3]]");
      Path types = copied(TestGguf.TYPES);
      gguf(14, 100, types, 1_856, () -> Laco.run("inspect", types));
      Path model = copied(TestGguf.TYPES.resolveSibling("qwen2_bias.q8_0.gguf"));
      gguf(15, 60, model, 6_112, () -> eval(model, ids));
    }

    private Path copied(Path file) {
      return TestCheckpoints.writeBytes(
          folder.resolve(file.getFileName()), TestCheckpoints.read(file));
    }

    private void gguf(int seed, int count, Path file, int header, Use use) throws IOException {
      Damage damage =
          (bytes, random) -> {
            byte[] begin = FuzzTest.damaged(Arrays.copyOf(bytes, header), random);
            byte[] damaged = Arrays.copyOf(begin, begin.length + bytes.length - header);
            System.arraycopy(bytes, header, damaged, begin.length, bytes.length - header);
            if (random.nextInt(4) == 0) {
              // A count, a length, an extent or an offset.
              long other = random.nextLong() >>> random.nextInt(64);
              int at = random.nextInt(header - Long.BYTES);
              ByteBuffer.wrap(damaged).order(ByteOrder.LITTLE_ENDIAN).putLong(at, other);
            }
            return damaged;
          };
      fuzz(seed, count, file, damage, use);
    }

    /** A lock is no input of the user's: whatever it holds, the checkpoint is written. */
    private void locks() throws IOException {
      Path out = folder.resolve("locked");
      Path plan = folder.resolve("identity.json");
      Path small = Fixtures.model("llama_linear");
      try (Checkpoint checkpoint = Checkpoint.open(small)) {
        TestFiles.write(plan, CollapsePlan.identity(PlanApplier.source(checkpoint)).toJsonText());
      }
      Random random = new Random(7);
      for (int i = 0; i < 20; i++) {
        byte[] held = FuzzTest.damaged("locked".getBytes(UTF_8), random);
        TestCheckpoints.writeBytes(folder.resolve(".laco-0123456789abcdef.lock"), held);
        ProgramRun run = Laco.run("apply", plan, small, out, "--overwrite");
        if (run.code() != 0 || run.err().contains("\tat ")) {
          throw new AssertionError(run + "\n" + Arrays.toString(held));
        }
      }
      System.out.println("locks 20 20");
    }

    /** Readers of text, with one tokenizer for all of them. */
    private void texts() throws IOException {
      try (Tokenizer tokenizer = Tokenizer.load(Fixtures.STORYTELLER).orElseThrow()) {
        var target =
            new CalibrationSet.Target(
                java.util.Optional.of(tokenizer), MissingTokenizer.OF_FOLDER, 100_000, 64);
        Path text = TestFiles.write(folder.resolve("t.txt"), "A cat sat.\n---\nDer Hund.\n\n猫が。\n");
        fuzz(8, 300, text, Damage.BYTES, () -> read(() -> CalibrationSet.read(text, target)));
        fuzz(9, 300, text, Damage.BYTES, () -> read(() -> FitText.read(text, target)));
        Path lines = folder.resolve("t.jsonl");
        TestFiles.write(lines, "{\"text\": \"The cat sat on the\", \"last\": \" mat\"}\n");
        fuzz(10, 500, lines, json(lines), () -> read(() -> ClozeSet.read(lines, target)));
        fuzz(11, 400, lines, json(lines), () -> read(() -> CalibrationSet.read(lines, target)));
        Path ids = TestFiles.write(folder.resolve("fit.json"), "[[1, 2, 3, 4], [5, 6, 7]]");
        fuzz(12, 1470, ids, json(ids), () -> read(() -> FitText.read(ids, target)));
      }
      Path words = Files.createDirectory(folder.resolve("words"));
      for (String name : TestFiles.names(Fixtures.STORYTELLER)) {
        Files.createSymbolicLink(
            words.resolve(name), Fixtures.STORYTELLER.resolve(name).toAbsolutePath());
      }
      Path generation = words.resolve("generation_config.json");
      fuzz(
          13,
          10,
          generation,
          json(generation),
          () -> Laco.run("generate", words, "--prompt", "a", "--max-tokens", 1, "--threads", 1));
    }

    private static ProgramRun read(Runnable reader) {
      try {
        reader.run();
        return new ProgramRun(0, "", "");
      } catch (BadInputException e) {
        return new ProgramRun(3, "", "laco: " + e.getMessage() + "\n");
      }
    }

    /** A way to damage a file. */
    private interface Damage {
      Damage BYTES = FuzzTest::damaged;

      byte[] damage(byte[] original, Random random) throws IOException;
    }

    private void fuzz(int seed, int count, Path file, Damage damage, Use use) throws IOException {
      byte[] original = TestCheckpoints.read(file);
      Random random = new Random(seed);
      int noticed = 0;
      for (int i = 0; i < count; i++) {
        byte[] damaged = damage.damage(original, random);
        Files.delete(file);
        TestCheckpoints.writeBytes(file, damaged);
        long start = THREADS.getCurrentThreadCpuTime();
        ProgramRun run = use.run();
        long took = THREADS.getCurrentThreadCpuTime() - start;
        noticed += run.code() == 0 ? 0 : 1;
        if (!isOrderly(run) || took > SOON_NANOS) {
          throw new AssertionError(
              String.format(
                  Locale.ROOT,
                  "%s, input %d of seed %d, %d ms: %s\n%s",
                  file,
                  i,
                  seed,
                  took / 1_000_000,
                  run,
                  new String(damaged, UTF_8)));
        }
      }
      Files.delete(file);
      TestCheckpoints.writeBytes(file, original);
      System.out.println(seed + ":" + file.getFileName() + " " + count + " " + noticed);
    }

    private static boolean isOrderly(ProgramRun run) {
      String err = run.err();
      return FuzzTest.CODES.contains(run.code())
          && !err.contains("\tat ")
          && !err.contains("out of memory")
          && (run.code() == 0 || err.matches("(?s)(.*\n)?laco: [^\\n]+\\n"));
    }

    private static Damage json(Path file) {
      return (original, random) ->
          random.nextInt(3) == 0
              ? FuzzTest.damaged(original, random)
              : otherJson(JSON.readTree(original), random).getBytes(UTF_8);
    }

    /** The header, rarely the data, which has far more bytes. */
    private static Damage weights(Path file) {
      return (original, random) -> {
        ByteBuffer bytes = ByteBuffer.wrap(original).order(ByteOrder.LITTLE_ENDIAN);
        int length = (int) bytes.getLong();
        byte[] header = Arrays.copyOfRange(original, 8, 8 + length);
        byte[] data = Arrays.copyOfRange(original, 8 + length, original.length);
        boolean kept = random.nextInt(4) > 0;
        byte[] other = kept ? json(file).damage(header, random) : header;
        long said = kept ? other.length : random.nextLong() >>> random.nextInt(64);
        return ByteBuffer.allocate(8 + other.length + data.length)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(said)
            .put(other)
            .put(data)
            .array();
      };
    }

    private static String otherJson(JsonNode json, Random random) {
      List<JsonNode> containers = new ArrayList<>();
      collect(json, containers);
      JsonNode at = containers.get(random.nextInt(containers.size()));
      RawValue value = new RawValue(value(random));
      if (at instanceof ArrayNode array) {
        int place = random.nextInt(array.size() + 1);
        switch (place == array.size() ? 0 : random.nextInt(3)) {
          case 0 -> array.insertRawValue(place, value);
          case 1 -> array.remove(place);
          default -> array.setRawValue(place, value);
        }
        return json.toString();
      }
      ObjectNode object = (ObjectNode) at;
      List<String> keys = new ArrayList<>();
      object.fieldNames().forEachRemaining(keys::add);
      String key = keys.isEmpty() ? "x" : keys.get(random.nextInt(keys.size()));
      switch (random.nextInt(5)) {
        case 0 -> object.remove(key);
        case 1 -> object.putRawValue(name(random), value);
        case 2 -> {
          // The same key once more.
          return json.toString().replaceFirst("\\{", "{\"" + key + "\":1,");
        }
        default -> object.putRawValue(key, value);
      }
      return json.toString();
    }

    private static void collect(JsonNode json, List<JsonNode> containers) {
      if (json.isContainerNode()) {
        containers.add(json);
        json.forEach(child -> collect(child, containers));
      }
    }

    private static String name(Random random) {
      return switch (random.nextInt(5)) {
        case 0 -> "a.".repeat(1 + random.nextInt(5_000)) + "a";
        case 1 -> " ".repeat(random.nextInt(40_000)) + "x";
        case 2 -> "\u001b[2J\u202e\u2028\ud83d\udc08";
        case 3 -> "num_hidden_layers";
        default -> "layers";
      };
    }

    private static String value(Random random) {
      return switch (random.nextInt(12)) {
        case 0 -> "\"" + " ".repeat(random.nextInt(100_000)) + "x\"";
        case 1 -> "[".repeat(1 + random.nextInt(2_000)) + "]".repeat(random.nextInt(2_000));
        case 2 -> "1e" + (random.nextBoolean() ? "-" : "") + random.nextInt(Integer.MAX_VALUE);
        case 3 -> "9".repeat(1 + random.nextInt(1_500));
        case 4 -> "\"\\u001b[2J\\n\\u202elaco: \\ud800\"";
        case 5 -> Long.toString(random.nextLong() >> random.nextInt(64));
        case 6 -> "\"" + name(random) + "\"";
        default -> FuzzTest.VALUES.get(random.nextInt(FuzzTest.VALUES.size()));
      };
    }
  }
}
