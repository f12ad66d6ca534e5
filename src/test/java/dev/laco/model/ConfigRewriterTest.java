package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Fixtures;
import java.nio.file.Files;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class ConfigRewriterTest {
  private static final JsonMapper JSON =
      JsonMapper.builder()
          .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
          .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
          .build();

  static Stream<String> fixtures() {
    return Fixtures.names();
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void anUnchangedModelKeepsEveryCharacterOfItsConfig(String name) throws Exception {
    String text = Files.readString(Fixtures.model(name).resolve("config.json"));
    ObjectNode config = (ObjectNode) JSON.readTree(text);
    int depth = Multimodal.textOf(config).get("num_hidden_layers").intValue();
    List<Integer> all = IntStream.range(0, depth).boxed().toList();
    String written = HuggingFaceJson.write(ConfigRewriter.rewrite("c", config, all));
    assertEquals(text.strip() + "\n", written);
  }

  /** Fixtures whose layers have all the same attention. */
  static Stream<String> uniformFixtures() {
    return fixtures()
        .filter(
            name -> {
              JsonNode config = Fixtures.read(Fixtures.model(name).resolve("config.json"));
              return ModelConfig.parse("c", config).attention().stream().distinct().count() == 1;
            });
  }

  @ParameterizedTest
  @MethodSource("uniformFixtures")
  void onlyTheDepthChangesWhereNothingElseIsSaidPerLayer(String name) throws Exception {
    String text = Files.readString(Fixtures.model(name).resolve("config.json"));
    ObjectNode config = (ObjectNode) JSON.readTree(text);
    int depth = Multimodal.textOf(config).get("num_hidden_layers").intValue();
    List<Integer> bases = List.of(0, 1, depth - 2, depth - 1);
    String written = HuggingFaceJson.write(ConfigRewriter.rewrite("c", config, bases));
    String expected =
        text.replace("\"num_hidden_layers\": " + depth, "\"num_hidden_layers\": 4")
            .replace("\"mlp_only_layers\": [\n    2\n  ]", "\"mlp_only_layers\": []")
            .replace("\"scale_depth\": 1.2", "\"scale_depth\": 0.9797958971132713")
            .replace("\"max_window_layers\": 28", "\"max_window_layers\": 4")
            .replace(
                "\"max_window_layers\": 4,\n  \"model_type\": \"qwen2\"",
                "\"max_window_layers\": 2,\n  \"model_type\": \"qwen2\"");
    assertEquals(expected.strip() + "\n", written);
  }

  @ParameterizedTest
  @CsvSource({
    "n_layers, 6, 3",
    "layer_types, '[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]', '[\"a\",\"d\",\"f\"]'",
    "no_rope_layers, '[1,1,1,0,1,1]', '[1,0,1]'",
    "something_per_layer, '[10,11,12,13,14,15]', '[10,13,15]'",
    "mlp_only_layers, '[0,1,3,5]', '[0,1,2]'",
    "mlp_only_layers, '[0,1,2,3,4,5]', '[0,1,2]'",
    "mlp_only_layers, '[]', '[]'",
    "modules_to_not_convert, '[\"lm_head\",\"model.layers.3.mlp\",\"model.layers.4.mlp\"]', '[\"lm_head\",\"model.layers.1.mlp\"]'",
    "pruned_heads, '{\"1\":[0],\"3\":[2]}', '{\"1\":[2]}'",
    "id2label, '{\"0\":\"A\",\"9\":\"B\"}', '{\"0\":\"A\",\"9\":\"B\"}'",
    "eos_token_id, '[1,2,3,4,5,6]', '[1,2,3,4,5,6]'",
    "rope_scaling, '{\"rope_type\":\"default\",\"long_factor\":[1,2,3,4,5,6]}', '{\"rope_type\":\"default\",\"long_factor\":[1,2,3,4,5,6]}'",
    "decoder_sparse_step, 1, 1",
    "vision, '{\"depth\":6,\"sizes\":[1,2]}', '{\"depth\":6,\"sizes\":[1,2]}'",
    "num_layers, null, null"
  })
  void whatIsSaidPerLayerIsSaidOfTheSurvivors(String key, String before, String after)
      throws Exception {
    ObjectNode config = llama().set(key, JSON.readTree(before));
    ObjectNode text = JSON.createObjectNode().set(key, JSON.readTree(before));
    config.set("text_config", text);
    ObjectNode result = ConfigRewriter.rewrite("c", config, List.of(0, 3, 5));
    assertEquals(JSON.readTree(after), result.get(key));
    assertEquals(JSON.readTree(after), result.get("text_config").get(key));
    assertEquals(3, result.get("num_hidden_layers").intValue());
    ConfigRewriter.requireDepth("c", result, 3);
  }

  /** A text that is no name of a module, and would be looked through at each of its words. */
  @Test
  void aLongTextAmongModulesIsKept() throws Exception {
    ObjectNode config = llama();
    config.putArray("modules_to_not_convert").add("layers.1 ".repeat(50_000) + "\n");
    assertEquals(
        config.get("modules_to_not_convert"),
        assertTimeoutPreemptively(
                Duration.ofSeconds(20), () -> ConfigRewriter.rewrite("c", config, List.of(0, 3, 5)))
            .get("modules_to_not_convert"));
  }

  @ParameterizedTest
  @CsvSource({
    "n_layer, 12, is 12",
    "layer_types, '[\"a\"]', has 1 entries",
    "skip_layers, '[0,3]', has 2 entries",
    "mlp_only_layers, '[6]', names layer 6",
    "mlp_only_layers, '[\"x\"]', names layer x",
    "pruned_heads, '{\"7\":[]}', names layer 7",
    "per_module, '{\"model.layers.3.mlp\":4}', keyed by the names of layers",
    "sliding_window_pattern, 2, add the list layer_types"
  })
  void aKeyThatCannotBeReIndexedIsNamed(String key, String value, String message) throws Exception {
    ObjectNode config = llama().set(key, JSON.readTree(value));
    var e =
        assertThrows(
            BadInputException.class,
            () -> ConfigRewriter.rewrite("config.json", config, List.of(0, 3, 5)));
    assertTrue(e.getMessage().startsWith("config.json: " + key), e.getMessage());
    assertTrue(e.getMessage().contains(message), e.getMessage());
    // A model that keeps all its layers keeps what it says of them.
    List<Integer> all = List.of(0, 1, 2, 3, 4, 5);
    assertEquals(config, ConfigRewriter.rewrite("config.json", config, all));
  }

  @ParameterizedTest
  @CsvSource({"3, 1", "0, 0", "6, 3", "28, 3", "5, 2"})
  void qwenWindowsFollowTheirLayers(int before, int after) throws Exception {
    ObjectNode config = qwen2().put("max_window_layers", before);
    assertWindowsKept(config, List.of(0, 3, 5));
    ObjectNode result = ConfigRewriter.rewrite("c", config, List.of(0, 3, 5));
    assertEquals(after, result.get("max_window_layers").intValue());
  }

  /** Layers 1, 3 and 5 of six have mixtures, but for the one that is named. */
  @ParameterizedTest
  @CsvSource({"'[]', '[0]'", "'[3]', '[0,1]'", "null, '[0]'"})
  void mixturesStayThoseOfTheirLayers(String named, String written) throws Exception {
    ObjectNode config =
        (ObjectNode) Fixtures.read(Fixtures.model("qwen3_moe").resolve("config.json"));
    config.put("decoder_sparse_step", 2).set("mlp_only_layers", JSON.readTree(named));
    Mixture before = mixture(config);
    ObjectNode result = ConfigRewriter.rewrite("c", config, List.of(2, 3, 5));
    Mixture after = mixture(result);
    assertEquals(1, result.get("decoder_sparse_step").intValue());
    assertEquals(JSON.readTree(written), result.get("mlp_only_layers"));
    assertEquals(List.of(2, 3, 5).stream().map(before.layers()::get).toList(), after.layers());
  }

  private static Mixture mixture(ObjectNode config) {
    return Objects.requireNonNull(ModelConfig.parse("config.json", config).mixture());
  }

  @ParameterizedTest
  @ValueSource(strings = {"'3'", "3.5", "-1", "true", "[3]", "67108865", "1e30"})
  void theFirstLayerWithAWindowIsACount(String value) throws Exception {
    ObjectNode config = qwen2();
    config.set("max_window_layers", JSON.readTree(value.replace('\'', '"')));
    var e = assertThrows(BadInputException.class, () -> ModelConfig.parse("config.json", config));
    assertTrue(
        e.getMessage()
            .startsWith("config.json: max_window_layers: expected an integer from 0 to 67108864"),
        e.getMessage());
  }

  @Test
  void aListOfAttentionTypesOutweighsThePosition() throws Exception {
    ObjectNode config = qwen2().put("max_window_layers", 3);
    var types = config.putArray("layer_types");
    for (int i = 0; i < 6; i++) {
      types.add(i % 2 == 0 ? "sliding_attention" : "full_attention");
    }
    assertWindowsKept(config, List.of(1, 2, 4, 5));
  }

  @Test
  void windowsThatTheDefaultPositionWouldMoveAreWrittenOut() throws Exception {
    ObjectNode config = qwen2().put("num_hidden_layers", 30);
    config.remove("max_window_layers");
    List<Integer> bases = IntStream.range(0, 30).filter(i -> i != 4 && i != 5).boxed().toList();
    assertWindowsKept(config, bases);
    JsonNode types = ConfigRewriter.rewrite("c", config, bases).get("layer_types");
    assertEquals("full_attention", types.get(25).textValue());
    assertEquals("sliding_attention", types.get(26).textValue());
  }

  private static void assertWindowsKept(ObjectNode config, List<Integer> bases) {
    List<LayerAttention> dense = ModelConfig.parse("c", config).attention();
    assertTrue(dense.stream().distinct().count() <= 2);
    assertEquals(
        bases.stream().map(dense::get).toList(),
        ModelConfig.parse("c", ConfigRewriter.rewrite("c", config, bases)).attention());
  }

  @ParameterizedTest
  @ValueSource(strings = {"layer_types", "no_rope_layers"})
  void aListOfTheWrongLengthFailsVerification(String key) throws Exception {
    ObjectNode config = llama();
    config.putArray(key).add(1);
    assertThrows(
        BadInputException.class, () -> ConfigRewriter.requireDepth("config.json", config, 6));
    assertThrows(
        BadInputException.class, () -> ConfigRewriter.requireDepth("config.json", llama(), 5));
  }

  @ParameterizedTest
  @CsvSource({
    "1e-05, 1e-05",
    "0.0001, 0.0001",
    "9.999999747378752e-06, 9.999999747378752e-06",
    "10000.0, 10000.0",
    "1e3, 1000.0",
    "1e+16, 1e+16",
    "1.5E300, 1.5e+300",
    "-1e-7, -1e-07",
    "0.0, 0.0",
    "1000000, 1000000"
  })
  void numbersAreSpelledAsPythonSpellsThem(String read, String written) throws Exception {
    assertEquals(written + "\n", HuggingFaceJson.write(JSON.readTree(read)));
  }

  private static ObjectNode llama() throws JsonProcessingException {
    return (ObjectNode)
        JSON.readTree(
            """
            {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
             "num_attention_heads": 2, "num_hidden_layers": 6, "vocab_size": 8}
            """);
  }

  private static ObjectNode qwen2() throws JsonProcessingException {
    ObjectNode config = llama();
    config.putArray("architectures").add("Qwen2ForCausalLM");
    return config.put("use_sliding_window", true).put("sliding_window", 4);
  }

  /** Every fourth layer of the original does not rotate; of the pruned model others do not. */
  @Test
  void rotatedLayersThatTheDefaultPositionWouldMoveAreWrittenOut() throws Exception {
    ObjectNode config =
        (ObjectNode) Fixtures.read(Fixtures.model("smollm3_std").resolve("config.json"));
    config.remove("no_rope_layers");
    List<Integer> bases = List.of(0, 1, 3, 4, 5, 7);
    assertWindowsKept(config, bases);
    ObjectNode pruned = ConfigRewriter.rewrite("c", config, bases);
    assertEquals("[1,1,0,1,1,0]", pruned.get("no_rope_layers").toString());
    List<Integer> first = List.of(0, 1, 2, 3, 4);
    assertTrue(ConfigRewriter.rewrite("c", config, first).path("no_rope_layers").isMissingNode());
  }
}
