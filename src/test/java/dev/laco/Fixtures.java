package dev.laco;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.ModelConfig;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/** The checkpoints in src/test/resources, with what an independent implementation says of them. */
public final class Fixtures {
  /** Folder of the test data. */
  public static final Path RESOURCES = Path.of("src/test/resources");

  /** The trained model that comes with the project. */
  public static final Path STORYTELLER = Path.of("models/storyteller");

  private Fixtures() {}

  /**
   * Writes {@code tokenizer.json} of the trained model with other special tokens around a text.
   *
   * @param folder gets the file, in place of one that is there
   * @param parts texts of special tokens, and {@code A} for the text
   */
  public static void writeTokenizer(Path folder, String... parts) {
    ObjectMapper mapper = new ObjectMapper();
    List<String> special = List.of("<unk>", "<s>", "</s>");
    Path file = folder.resolve("tokenizer.json");
    try {
      ObjectNode json =
          (ObjectNode) mapper.readTree(STORYTELLER.resolve("tokenizer.json").toFile());
      ObjectNode processor = json.putObject("post_processor").put("type", "TemplateProcessing");
      ArrayNode single = processor.putArray("single");
      ArrayNode pair = processor.putArray("pair");
      ObjectNode tokens = processor.putObject("special_tokens");
      for (String part : parts) {
        String kind = special.contains(part) ? "SpecialToken" : "Sequence";
        single.addObject().putObject(kind).put("id", part).put("type_id", 0);
        if (special.contains(part)) {
          ObjectNode token = tokens.putObject(part).put("id", part);
          token.putArray("ids").add(special.indexOf(part));
          token.putArray("tokens").add(part);
        }
      }
      pair.addObject().putObject("Sequence").put("id", "A").put("type_id", 0);
      pair.addObject().putObject("Sequence").put("id", "B").put("type_id", 1);
      Files.deleteIfExists(file);
      mapper.writeValue(file.toFile(), json);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Every fixture that has a checkpoint; in the archive for GPU nodes there are fewer. */
  public static Stream<String> names() {
    return Stream.of(
            "llama_untied_gqa",
            "llama_tied_rope3",
            "llama_linear",
            "llama_mha_bias_f16",
            "mistral_std",
            "qwen2_bias",
            "qwen3_qknorm",
            "llama24_search",
            "phi3_std",
            "granite",
            "smollm3_std",
            "baichuan2_7b",
            "baichuan2_13b",
            "internlm2",
            "gpt_neox",
            "hunyuan_dense",
            "minicpm3",
            "qwen3_5",
            "qwen3_next",
            "lfm2",
            "gemma_v1",
            "gemma2_std",
            "gemma3_std",
            "olmo2",
            "mixtral",
            "qwen3_moe",
            "olmoe",
            "gpt_oss",
            "qwen3_vl_moe",
            "glm4_moe",
            "deepseek_v3")
        .filter(name -> Files.isDirectory(folder(name)));
  }

  /**
   * How far a similarity may be from that of a stored float32 run. In the runs of smollm3_std a
   * layer rotates as the original's layer of its new index does, in the engine as it did before.
   */
  public static double similarityTolerance(String name) {
    return name.equals("smollm3_std") ? 2e-3 : 1e-4;
  }

  /** The fixtures that have a stored run: {@code official} or {@code paper}. */
  public static Stream<String> withRun(String run) {
    return names().filter(name -> json(name, "expected.json").get("runs").has(run));
  }

  /** The fixtures that have scores of layers. */
  public static Stream<String> withScores() {
    return names().filter(name -> Files.exists(folder(name).resolve("scores.json")));
  }

  /** The fixtures whose layers can be merged, not only removed. */
  public static Stream<String> merging() {
    return names().filter(name -> config(name).whyNoMerge() == null);
  }

  /** The fixtures of which all rules that fit weights hold. */
  public static Stream<String> fitting() {
    return names()
        .filter(name -> config(name).whyNoFit() == null && config(name).whyOnlyDown() == null);
  }

  /** The config of a fixture. */
  public static ModelConfig config(String name) {
    return ModelConfig.parse(name, read(model(name).resolve("config.json")));
  }

  /** Folder of a fixture. */
  public static Path folder(String name) {
    return RESOURCES.resolve("fixtures").resolve(name);
  }

  /** Its checkpoint. */
  public static Path model(String name) {
    return folder(name).resolve("model");
  }

  /** A JSON file of a fixture. */
  public static JsonNode json(String name, String file) {
    return read(folder(name).resolve(file));
  }

  /** A JSON file. */
  public static JsonNode read(Path file) {
    try {
      return new ObjectMapper().readTree(file.toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Token lists of a fixture, {@code calib} or {@code eval}. */
  public static List<int[]> tokens(String name, String set) {
    List<int[]> lists = new ArrayList<>();
    for (JsonNode list : json(name, "tokens.json").get(set)) {
      int[] ids = new int[list.size()];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = list.get(i).intValue();
      }
      lists.add(ids);
    }
    return lists;
  }

  /** Writes the token lists of a fixture to a file of their own. */
  public static Path tokens(Path folder, String name, String set) {
    return TestFiles.write(
        folder.resolve(name + "." + set + ".json"), json(name, "tokens.json").get(set).toString());
  }

  /** Writes lists of random token ids, which differ from list to list, and from seed to seed. */
  public static Path randomTokens(Path file, int seed, int lists, int length) {
    return TestFiles.write(
        file,
        IntStream.range(0, lists)
            .mapToObj(list -> new Random(31L * seed + list).ints(length, 1, 200))
            .map(ids -> Arrays.toString(ids.toArray()))
            .toList()
            .toString());
  }
}
