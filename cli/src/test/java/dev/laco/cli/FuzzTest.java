package dev.laco.cli;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.util.RawValue;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.Sha256;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.NewWeights;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Seeded damage to the small files of a checkpoint: never an internal error or a stack trace. */
class FuzzTest {
  private static final String FIXTURE = "qwen2_bias";
  private static final String CONFIG = "config.json";
  private static final String INDEX = "model.safetensors.index.json";
  private static final String SHARD = "model-00002-of-00006.safetensors";
  private static final Path ORIGINAL = Fixtures.model(FIXTURE);

  /** Done, usage, bad input, and too little memory for what a config asks. */
  static final Set<Integer> CODES = Set.of(0, 2, 3, 4);

  static final List<String> VALUES =
      List.of(
          "null",
          "true",
          "0",
          "-1",
          "1",
          "2",
          "3",
          "7",
          "9",
          "1000000",
          "2147483647",
          "2147483648",
          "9223372036854775808",
          "1e308",
          "1e-308",
          "1e999",
          "1e99999999999",
          "0.5",
          "-0.0",
          "NaN",
          "-Infinity",
          "\"\"",
          "\"8\"",
          "\"default\"",
          "\"yarn\"",
          "\"dynamic\"",
          "\"llama3\"",
          "[]",
          "[1]",
          "[1,2,3,4,5,6,7,8]",
          "[\"x\"]",
          "{}",
          "{\"rope_type\":\"linear\",\"factor\":1e300}",
          "{\"rope_type\":\"yarn\",\"factor\":-2}",
          "{\"type\":\"dynamic\",\"factor\":3}",
          "{\"rope_type\":\"llama3\",\"factor\":8}",
          "[\"LlamaForCausalLM\"]",
          "[\"Qwen3ForCausalLM\"]",
          "\"qwen3\"",
          "[[[[[[[[]]]]]]]]",
          "\"\\u0000\\ud800\"");

  private static final List<String> ADDED_KEYS =
      List.of(
          "layer_types",
          "rope_parameters",
          "mlp_only_layers",
          "text_config",
          "quantization_config",
          "mlp_bias",
          "attention_bias",
          "no_rope_layers",
          "auto_map");

  @TempDir Path folder;
  private Path model;
  private Path calibration;

  @BeforeEach
  void linkTheModel() throws IOException {
    model = Files.createDirectory(folder.resolve("model"));
    for (String name : TestFiles.names(ORIGINAL)) {
      Files.createSymbolicLink(model.resolve(name), ORIGINAL.resolve(name).toAbsolutePath());
    }
    calibration = TestFiles.write(folder.resolve("ids.json"), "[[1, 2, 3, 4], [5, 6]]");
  }

  @Test
  void configsWithOtherValues() throws IOException {
    ObjectNode config = (ObjectNode) Fixtures.read(ORIGINAL.resolve(CONFIG));
    List<String> keys = new java.util.ArrayList<>(ADDED_KEYS);
    config.fieldNames().forEachRemaining(keys::add);
    Random random = new Random(1);
    Map<Integer, Integer> seen = new TreeMap<>();
    for (int i = 0; i < 300; i++) {
      ObjectNode changed = config.deepCopy();
      for (int n = 0; n <= random.nextInt(2); n++) {
        String value = VALUES.get(random.nextInt(VALUES.size()));
        changed.putRawValue(keys.get(random.nextInt(keys.size())), new RawValue(value));
      }
      seen.merge(check(CONFIG, changed.toString().getBytes(ISO_8859_1)), 1, Integer::sum);
    }
    assertVaried(seen);
  }

  @Test
  void configsWithOtherBytes() throws IOException {
    assertVaried(mutate(CONFIG, Files.readAllBytes(ORIGINAL.resolve(CONFIG)), 2));
  }

  @Test
  void indexesWithOtherBytes() throws IOException {
    assertNoticed(mutate(INDEX, Files.readAllBytes(ORIGINAL.resolve(INDEX)), 3));
  }

  @Test
  void headersWithOtherBytes() throws IOException {
    byte[] shard = Files.readAllBytes(ORIGINAL.resolve(SHARD));
    int header = 8 + (int) ByteBuffer.wrap(shard).order(ByteOrder.LITTLE_ENDIAN).getLong();
    Random random = new Random(4);
    Map<Integer, Integer> seen = new TreeMap<>();
    for (int i = 0; i < 150; i++) {
      byte[] changed = shard.clone();
      // Often the few bytes of the length, else the table.
      int range = random.nextInt(4) == 0 ? 8 : header;
      for (int n = 0; n <= random.nextInt(3); n++) {
        changed[random.nextInt(range)] = interesting(random);
      }
      seen.merge(check(SHARD, changed), 1, Integer::sum);
    }
    assertNoticed(seen);
  }

  @Test
  void newTensorsOfPlansWithOtherValues() throws IOException {
    ObjectNode plan = planWithTensors();
    List<String> keys = List.of("file", "sha256", "names", "tensors");
    Random random = new Random(5);
    Map<Integer, Integer> seen = new TreeMap<>();
    for (int i = 0; i < 100; i++) {
      ObjectNode changed = plan.deepCopy();
      String key = keys.get(random.nextInt(keys.size()));
      ObjectNode parent = key.equals("tensors") ? changed : (ObjectNode) changed.get("tensors");
      parent.putRawValue(key, new RawValue(VALUES.get(random.nextInt(VALUES.size()))));
      seen.merge(apply(changed.toString().getBytes(ISO_8859_1)), 1, Integer::sum);
    }
    assertNoticed(seen);
  }

  @Test
  void newTensorsOfPlansWithOtherBytes() throws IOException {
    byte[] original = planWithTensors().toString().getBytes(ISO_8859_1);
    Random random = new Random(6);
    Map<Integer, Integer> seen = new TreeMap<>();
    for (int i = 0; i < 100; i++) {
      seen.merge(apply(damaged(original, random)), 1, Integer::sum);
    }
    assertNoticed(seen);
  }

  @Test
  void filesOfNewTensorsWithOtherHeaders() throws IOException {
    ObjectNode plan = planWithTensors();
    Path file = folder.resolve("p.safetensors");
    byte[] original = Files.readAllBytes(file);
    int header = 8 + (int) ByteBuffer.wrap(original).order(ByteOrder.LITTLE_ENDIAN).getLong();
    Random random = new Random(7);
    Map<Integer, Integer> seen = new TreeMap<>();
    for (int i = 0; i < 100; i++) {
      byte[] changed = original.clone();
      for (int n = 0; n <= random.nextInt(3); n++) {
        changed[random.nextInt(header)] = interesting(random);
      }
      TestCheckpoints.writeBytes(file, changed);
      ((ObjectNode) plan.get("tensors")).put("sha256", Sha256.of(file));
      seen.merge(apply(plan.toString().getBytes(ISO_8859_1)), 1, Integer::sum);
    }
    assertNoticed(seen);
  }

  /** A plan for the model whose final norm is new, and its file {@code p.safetensors}. */
  private ObjectNode planWithTensors() {
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      PlanTensors tensors =
          new PlanTensors(NewWeights.NONE.with(checkpoint.tensor("model.norm.weight")));
      tensors.write(folder.resolve("p.safetensors"));
      return CollapsePlan.identity(PlanApplier.source(checkpoint))
          .withTensors(tensors.named("p.safetensors"))
          .toJson();
    }
  }

  /** Applies a plan of these bytes; returns the exit code. */
  private int apply(byte[] bytes) {
    Path plan = TestCheckpoints.writeBytes(folder.resolve("p.json"), bytes);
    ProgramRun run = Laco.run("apply", plan, model, folder.resolve("out"), "--overwrite");
    assertOrderly(run, new String(bytes, ISO_8859_1));
    return run.code();
  }

  private Map<Integer, Integer> mutate(String file, byte[] original, int seed) throws IOException {
    Random random = new Random(seed);
    Map<Integer, Integer> seen = new TreeMap<>();
    for (int i = 0; i < 150; i++) {
      seen.merge(check(file, damaged(original, random)), 1, Integer::sum);
    }
    return seen;
  }

  static byte[] damaged(byte[] original, Random random) {
    byte[] changed = original.clone();
    for (int n = 0; n <= random.nextInt(3) && changed.length > 0; n++) {
      int at = random.nextInt(changed.length);
      int until = Math.min(changed.length, at + 1 + random.nextInt(12));
      changed =
          switch (random.nextInt(4)) {
            case 0 -> concat(changed, 0, at, changed, until, changed.length);
            case 1 -> concat(changed, 0, until, changed, at, changed.length);
            case 2 -> Arrays.copyOf(changed, Math.max(1, at));
            default -> {
              changed[at] = interesting(random);
              yield changed;
            }
          };
    }
    return changed;
  }

  private static byte interesting(Random random) {
    String bytes = "0123456789-.eE\"{}[],:\\ntfu\u0000\u00ff ";
    return random.nextInt(3) == 0
        ? (byte) random.nextInt(256)
        : (byte) bytes.charAt(random.nextInt(bytes.length()));
  }

  private static byte[] concat(byte[] a, int a0, int a1, byte[] b, int b0, int b1) {
    byte[] joined = Arrays.copyOf(Arrays.copyOfRange(a, a0, a1), a1 - a0 + b1 - b0);
    System.arraycopy(b, b0, joined, a1 - a0, b1 - b0);
    return joined;
  }

  /** Runs with a file in this state; returns the exit code of prune. */
  private int check(String file, byte[] bytes) throws IOException {
    Files.delete(model.resolve(file));
    TestCheckpoints.writeBytes(model.resolve(file), bytes);
    String what = file + ": " + new String(bytes, 0, Math.min(bytes.length, 3000), ISO_8859_1);
    ProgramRun inspect = Laco.run("inspect", model);
    assertOrderly(inspect, what);
    ProgramRun prune =
        Laco.run(
            "prune",
            model,
            "--dry-run",
            "--calibration",
            calibration,
            "--threshold",
            0.5,
            "--threads",
            1);
    assertOrderly(prune, what);
    return prune.code();
  }

  private static void assertOrderly(ProgramRun run, String what) {
    assertTrue(CODES.contains(run.code()), () -> run + "\n" + what);
    assertFalse(run.err().contains("\tat "), () -> run + "\n" + what);
    if (run.code() != 0) {
      assertTrue(run.err().matches("laco: [^\\n]+\\n"), () -> run + "\n" + what);
    }
  }

  /** Some configs are damaged, some are only other configs. */
  private static void assertVaried(Map<Integer, Integer> seen) {
    assertNoticed(seen);
    assertTrue(seen.getOrDefault(0, 0) > 2, seen::toString);
  }

  private static void assertNoticed(Map<Integer, Integer> seen) {
    assertTrue(seen.getOrDefault(3, 0) > 20, seen::toString);
  }
}
