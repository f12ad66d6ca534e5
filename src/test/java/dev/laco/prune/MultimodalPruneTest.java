package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.TestFiles;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.checkpoint.StopTokens;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * A multimodal model is pruned as its language model is: fixtures are put into such models, whose
 * results must be those of the fixtures, bit for bit.
 */
class MultimodalPruneTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final DeviceSettings CPU = DeviceSettings.of("cpu").withCompute(Compute.F32);

  /** Names like those of a layer, of an encoder; and one that only a language model's begins as. */
  private static final List<String> BESIDE =
      List.of(
          "vision_tower.encoder.layers.3.mlp.fc1.weight",
          "model_projector.weight",
          "mtp.layers.0.mlp.up_proj.weight");

  /** Layers of each fixture here. */
  private static final int DEPTH = 8;

  @TempDir Path folder;

  /** A fixture inside another model. */
  private enum Kind {
    GEMMA3(
        "gemma3_std", "Gemma3ForConditionalGeneration", "gemma3", name -> "language_model." + name),
    LLAVA(
        "llama_untied_gqa",
        "LlavaForConditionalGeneration",
        "llava",
        name -> "language_model." + name),
    /** The names that some releases of transformers wrote. */
    MISTRAL3(
        "mistral_std",
        "Mistral3ForConditionalGeneration",
        "mistral3",
        name -> name.replaceFirst("^model\\.", "model.language_model.")),
    SMOLVLM(
        "llama_untied_gqa",
        "SmolVLMForConditionalGeneration",
        "smolvlm",
        name -> name.replaceFirst("^model\\.", "model.text_model.")),
    QWEN2_VL("qwen2_bias", "Qwen2VLForConditionalGeneration", "qwen2_vl", name -> name),
    /** Of which layers 0 to 2 must stay. */
    QWEN3_VL(
        "qwen3_qknorm",
        "Qwen3VLForConditionalGeneration",
        "qwen3_vl",
        name -> name.replaceFirst("^model\\.", "model.language_model.")),
    QWEN3_5(
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        "qwen3_5",
        name -> name.replaceFirst("^model\\.", "model.language_model."));

    final String fixture;
    final String className;
    final String modelType;
    final UnaryOperator<String> names;

    Kind(String fixture, String className, String modelType, UnaryOperator<String> names) {
      this.fixture = fixture;
      this.className = className;
      this.modelType = modelType;
      this.names = names;
    }

    /** The config around that of a language model. */
    ObjectNode config(ObjectNode text) {
      ObjectNode root = JSON.createObjectNode();
      root.putArray("architectures").add(className);
      // Neither belongs to the layers of the language model, although there are as many.
      root.putArray("vision_feature_layer").add(-2);
      for (int i = 0; i < DEPTH; i++) {
        root.withArray("image_grid_pinpoints").add(i);
      }
      root.putObject("vision_config").put("num_hidden_layers", 4);
      if (this == QWEN2_VL) {
        // The first releases had the keys of the language model at the root.
        text.remove("architectures");
        root.remove(List.of("vision_feature_layer", "image_grid_pinpoints"));
        text.set("rope_scaling", JSON.createObjectNode().put("type", "mrope"));
        return root.setAll(text.put("model_type", modelType));
      }
      text.remove("architectures");
      if (this == QWEN3_VL) {
        text.put("model_type", "qwen3_vl_text");
      }
      root.set("text_config", text);
      return root.put("model_type", modelType).put("tie_word_embeddings", this == MISTRAL3);
    }
  }

  private static float[] values(int seed) {
    return new float[] {seed + 0.5f, -seed, 1e-3f * seed, 4, 5, 6};
  }

  private Path write(Kind kind) throws IOException {
    Path out = Files.createDirectories(folder.resolve(kind.name()).resolve("model"));
    ObjectNode text =
        (ObjectNode) Fixtures.read(Fixtures.model(kind.fixture).resolve("config.json"));
    TestFiles.write(out.resolve("config.json"), kind.config(text).toPrettyString());
    List<OutputTensor> tensors = new ArrayList<>();
    try (Checkpoint language = Checkpoint.open(Fixtures.model(kind.fixture))) {
      for (String name : language.weightNames()) {
        tensors.add(OutputTensor.copy(kind.names.apply(name), language.file(name), name));
      }
      for (String name : BESIDE) {
        MemorySegment data =
            MemorySegment.ofArray(
                MemorySegment.ofArray(values(name.length())).toArray(ValueLayout.JAVA_BYTE));
        tensors.add(OutputTensor.of(name, DType.F32, List.of(2L, 3L), data));
      }
      new SafetensorsWriter(tensors).write(out.resolve("model.safetensors"), bytes -> {});
    }
    TestFiles.write(out.resolve("preprocessor_config.json"), "{\"size\": 28}");
    return out;
  }

  private PruneRequest request(SearchSettings search) {
    return PruneRequest.of(Goal.layers(DEPTH - 2))
        .withSearch(search)
        .withFit(new FitSettings(tokens("fit.json", 1, 24), null))
        .withTexts(
            new TextSettings(tokens("calibration.json", 2, 4), null, tokens("held.json", 3, 8)));
  }

  private Path tokens(String name, int seed, int lists) {
    return Fixtures.randomTokens(folder.resolve(name), seed, lists, 32);
  }

  private Path pruned(Path source, String name, SearchSettings search) {
    try (Model model = Model.open(source);
        PruneJob job = new PruneJob(model, CPU, request(search))) {
      PruneResult result = job.run();
      result.writeTo(folder.resolve(name), WriteSettings.DEFAULT);
      assertEquals(
          model.config().architecture().isMultimodal(),
          result.report().warnings().toString().contains("images or sounds"));
    }
    return folder.resolve(name);
  }

  private static Map<String, byte[]> tensors(Checkpoint model, UnaryOperator<String> names) {
    Map<String, byte[]> bytes = new TreeMap<>();
    for (String name : model.weightNames()) {
      bytes.put(
          names.apply(name), model.file(name).tensor(name).data().toArray(ValueLayout.JAVA_BYTE));
    }
    return bytes;
  }

  @ParameterizedTest
  @EnumSource(Kind.class)
  void theLanguageModelIsPrunedAsItIsAlone(Kind kind) throws IOException {
    Path whole = write(kind);
    SearchSettings alone =
        kind == Kind.QWEN3_VL ? SearchSettings.DEFAULT.withLowest(2) : SearchSettings.DEFAULT;
    try (Checkpoint expected =
            Checkpoint.open(pruned(Fixtures.model(kind.fixture), "alone", alone));
        Checkpoint found = Checkpoint.open(pruned(whole, "inside", SearchSettings.DEFAULT))) {
      Map<String, byte[]> weights = tensors(expected, kind.names);
      Map<String, byte[]> inside = tensors(found, name -> name);
      assertEquals(weights.keySet(), inside.keySet());
      weights.forEach((name, bytes) -> assertArrayEquals(bytes, inside.get(name), name));
      for (String name : BESIDE) {
        assertArrayEquals(
            values(name.length()),
            found.file(name).tensor(name).data().toArray(ValueLayout.JAVA_FLOAT_UNALIGNED));
      }
      assertEquals(kind.config(expected.configJson()), found.configJson());
      assertEquals(expected.parameterCount() + BESIDE.size() * 6, found.parameterCount());
      String card = Files.readString(found.directory().resolve("README.md"));
      assertTrue(card.contains("`" + kind.className + ".from_pretrained(\"FOLDER\")`"), card);
      assertTrue(card.contains("What images or sounds lose was not measured."), card);
      assertTrue(
          TestFiles.names(found.directory()).contains("preprocessor_config.json"),
          "what prepares images is copied");
    }
  }

  /** Published models have matrices of experts transposed, those that transformers 5 wrote not. */
  @Test
  void expertsStayAsTheyAreStored() throws IOException {
    Path published = Fixtures.model("qwen3_vl_moe");
    Path turned = Files.createDirectory(folder.resolve("turned"));
    Files.copy(published.resolve("config.json"), turned.resolve("config.json"));
    try (Checkpoint model = Checkpoint.open(published)) {
      List<OutputTensor> tensors =
          model.weightNames().stream()
              .map(name -> turned(model.tensor(name)))
              .map(t -> OutputTensor.of(t.name(), t.dtype(), t.shape(), t.data()))
              .toList();
      new SafetensorsWriter(tensors).write(turned.resolve("model.safetensors"), bytes -> {});
    }
    try (Checkpoint original = Checkpoint.open(published);
        Checkpoint expected = Checkpoint.open(merged(published, "merged"));
        Checkpoint found = Checkpoint.open(merged(turned, "merged turned"))) {
      assertEquals(expected.configJson(), found.configJson());
      assertEquals(expected.weightNames(), found.weightNames());
      for (String name : expected.weightNames()) {
        assertSame(turned(expected.tensor(name)), found.tensor(name));
        if (name.startsWith("model.visual.")) {
          assertSame(original.tensor(name), found.tensor(name));
        }
      }
    }
  }

  private Path merged(Path source, String name) {
    try (Model model = Model.open(source);
        PruneJob job = new PruneJob(model, CPU, request(SearchSettings.DEFAULT).withRule("mean"))) {
      PruneResult result = job.run();
      assertTrue(result.report().plan().layers().stream().anyMatch(layer -> layer.sources() > 1));
      result.writeTo(folder.resolve(name), WriteSettings.DEFAULT);
    }
    return folder.resolve(name);
  }

  private static void assertSame(HostTensor expected, HostTensor found) {
    assertEquals(expected.shape(), found.shape(), found.name());
    assertEquals(-1, expected.data().mismatch(found.data()), found.name());
  }

  /** Matrices of experts {@code [experts, rows, columns]} in f32 transposed, other tensors not. */
  private static HostTensor turned(HostTensor tensor) {
    if (!tensor.name().contains(".experts.")) {
      return tensor;
    }
    long rows = tensor.shape().get(1);
    long columns = tensor.shape().get(2);
    float[] values = new float[Math.toIntExact(tensor.elements())];
    for (int i = 0; i < values.length; i++) {
      long expert = i / (rows * columns);
      long from = expert * rows * columns + i % rows * columns + i / rows % columns;
      values[i] = tensor.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, from);
    }
    byte[] bytes = MemorySegment.ofArray(values).toArray(ValueLayout.JAVA_BYTE);
    return new HostTensor(
        tensor.name(),
        tensor.dtype(),
        List.of(tensor.shape().getFirst(), columns, rows),
        MemorySegment.ofArray(bytes));
  }

  /** Releases of transformers before 5 wrote of an inner config what differs from its defaults. */
  @Test
  void whatTheInnerConfigLeavesOutIsTheDefault() throws IOException {
    Path model = write(Kind.GEMMA3);
    ObjectNode config = (ObjectNode) Fixtures.read(model.resolve("config.json"));
    ObjectNode text = (ObjectNode) config.get("text_config");
    text.remove("num_hidden_layers");
    TestFiles.write(model.resolve("config.json"), config.toPrettyString());
    BadInputException missing =
        assertThrows(BadInputException.class, () -> Checkpoint.open(model).close());
    assertTrue(missing.getMessage().contains("num_hidden_layers 26"), missing.getMessage());
    text.put("num_hidden_layers", 8).remove(List.of("tie_word_embeddings", "hidden_activation"));
    TestFiles.write(model.resolve("config.json"), config.toPrettyString());
    Checkpoint.open(model).close();
  }

  /** Releases of transformers differ in the base of rotation, and in the key of experts. */
  @ParameterizedTest
  @CsvSource({
    "rope_parameters, 'text_config: rope_theta: expected the base that the model was trained with'",
    "num_local_experts, 'config.json calls for [60, 32]'",
    "moe_intermediate_size, 'config.json calls for [6, 32, 2816]'"
  })
  void whatAnInnerConfigOfExpertsLeavesOut(String key, String said) throws IOException {
    Path model = TestCheckpoints.copy("qwen3_vl_moe", folder.resolve("model"));
    ObjectNode config = (ObjectNode) Fixtures.read(model.resolve("config.json"));
    ((ObjectNode) config.get("text_config")).remove(key);
    TestFiles.write(model.resolve("config.json"), config.toPrettyString());
    BadInputException refused =
        assertThrows(BadInputException.class, () -> Checkpoint.open(model).close());
    assertTrue(refused.getMessage().contains(said), refused.getMessage());
  }

  @ParameterizedTest
  @CsvSource({
    "'\"llava\"', '\"gemma3\"', model_type",
    "'\"llama\"', '\"t5\"', 't5'",
    "'\"num_hidden_layers\" : 8', '\"num_hidden_layers\" : 0', 'text_config: num_hidden_layers'",
    "'\"LlavaForConditionalGeneration\"', '\"MllamaForConditionalGeneration\"', 'these are:'"
  })
  void whatIsWrongInAConfigIsNamed(String right, String wrong, String said) throws IOException {
    Path model = write(Kind.LLAVA);
    TestCheckpoints.edit(model.resolve("config.json"), text -> text.replace(right, wrong));
    BadInputException refused =
        assertThrows(BadInputException.class, () -> Checkpoint.open(model).close());
    assertTrue(refused.getMessage().contains(said), refused.getMessage());
  }

  /** Behind the first three layers of a Qwen3-VL features of images are added. */
  @Test
  void layersThatSeeKeepTheirPlaces() throws IOException {
    Path whole = write(Kind.QWEN3_VL);
    try (Model model = Model.open(whole)) {
      UsageException refused =
          assertThrows(
              UsageException.class,
              () -> new PruneJob(model, CPU, request(SearchSettings.DEFAULT.withLowest(1))));
      assertTrue(refused.getMessage().contains("give at least 2"), refused.getMessage());
      CollapsePlan original = CollapsePlan.identity(PlanApplier.source(model.checkpoint()));
      for (int base = 0; base < 3; base++) {
        CollapsePlan plan = original.fold(base, 1, MergeRule.DROP, NormsPolicy.BASE);
        if (base < 2) {
          BadInputException kept = assertThrows(BadInputException.class, () -> apply(model, plan));
          assertTrue(
              kept.getMessage().contains("layer " + (base + 1) + " cannot be removed"),
              kept.getMessage());
        } else {
          apply(model, plan);
        }
      }
    }
  }

  private static void apply(Model model, CollapsePlan plan) {
    new PlanApplier(
        model.checkpoint(), plan, new PlanTensors(NewWeights.NONE), Long.MAX_VALUE, warning -> {});
  }

  /** A token's id may stand in either config; {@code null} is none. */
  @Test
  void aValueIsTheRootsOrElseTheLanguageModels() throws IOException {
    Path model = write(Kind.LLAVA);
    ObjectNode config = (ObjectNode) Fixtures.read(model.resolve("config.json"));
    config.putNull("eos_token_id").put("pad_token_id", 7);
    ((ObjectNode) config.get("text_config")).putNull("bos_token_id");
    TestFiles.write(model.resolve("config.json"), config.toPrettyString());
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      assertEquals(2, checkpoint.configValue("eos_token_id").intValue());
      assertEquals(7, checkpoint.configValue("pad_token_id").intValue());
      assertTrue(checkpoint.configValue("bos_token_id").isMissingNode());
      assertEquals(Set.of(2), StopTokens.of(checkpoint));
    }
  }

  /** A file of the language model alone is that of the fixture, and says that it is alone. */
  @Test
  void aGgufFileHasTheLanguageModel() throws IOException {
    List<String> warnings = new ArrayList<>();
    Path inside = folder.resolve("inside.gguf");
    Path alone = folder.resolve("alone.gguf");
    try (Checkpoint model = Checkpoint.open(write(Kind.LLAVA));
        Checkpoint language = Checkpoint.open(Fixtures.model(Kind.LLAVA.fixture))) {
      new GgufExport(model, GgufType.F32, warnings::add).write(inside, bytes -> {});
      new GgufExport(language, GgufType.F32, warning -> {}).write(alone, bytes -> {});
    }
    assertEquals(-1, Files.mismatch(alone, inside));
    assertTrue(warnings.toString().contains("mmproj"), warnings.toString());
  }

  /** A file says how many pairs of a head's elements each position of an image rotates. */
  @Test
  void aFileHasThePositionsOfImages() throws IOException {
    Path two = write(Kind.QWEN2_VL);
    ObjectNode config = (ObjectNode) Fixtures.read(two.resolve("config.json"));
    assertRefused(two, "an mrope_section of [16, 24, 24]");
    ArrayNode sections = ((ObjectNode) config.get("rope_scaling")).putArray("mrope_section");
    int pairs = Fixtures.config(Kind.QWEN2_VL.fixture).headDim() / 2;
    sections.add(1).add(1).add(pairs - 2);
    TestFiles.write(two.resolve("config.json"), config.toPrettyString());
    GgufMetadata runs = exported(two, "take 0 for rms_norm_eps");
    assertEquals("qwen2vl", runs.string("general.architecture").orElseThrow());
    assertEquals(List.of(1, 1, pairs - 2, 0), runs.integers("qwen2vl.rope.dimension_sections"));

    GgufMetadata turns = exported(write(Kind.QWEN3_VL), "mmproj");
    assertEquals(List.of(24, 20, 20, 0), turns.integers("qwen3vl.rope.dimension_sections"));
    assertEquals(3, turns.integer("qwen3vl.n_deepstack_layers").orElseThrow());
  }

  private GgufMetadata exported(Path folder, String warning) throws IOException {
    List<String> warnings = new ArrayList<>();
    Path file = folder.resolve("a.gguf");
    try (Checkpoint model = Checkpoint.open(folder)) {
      new GgufExport(model, GgufType.F32, warnings::add).write(file, bytes -> {});
    }
    assertTrue(warnings.toString().contains(warning), warnings.toString());
    MemorySegment bytes = MemorySegment.ofArray(Files.readAllBytes(file));
    return GgufHeader.read(file, bytes, 10_000).metadata();
  }

  private static void assertRefused(Path folder, String named) {
    try (Checkpoint model = Checkpoint.open(folder)) {
      BadInputException refused =
          assertThrows(
              BadInputException.class, () -> new GgufExport(model, GgufType.F32, warning -> {}));
      assertTrue(refused.getMessage().contains(named), refused.getMessage());
    }
  }

  /** Pairs in turn that are left over are refused where they turn visibly. */
  @Test
  void pairsThatLlamaCppDoesNotTurnAreTold() throws IOException {
    Path model = write(Kind.QWEN3_VL);
    ObjectNode config = (ObjectNode) Fixtures.read(model.resolve("config.json"));
    ObjectNode text = (ObjectNode) config.get("text_config");
    int pairs = Fixtures.config(Kind.QWEN3_VL.fixture).headDim() / 2;
    ObjectNode rope = text.putObject("rope_scaling").put("rope_type", "default");
    rope.putArray("mrope_section").add(pairs).add(0).add(pairs);
    TestFiles.write(model.resolve("config.json"), config.toPrettyString());
    assertRefused(model, "mrope_section");
    text.put("rope_theta", 1e300);
    TestFiles.write(model.resolve("config.json"), config.toPrettyString());
    exported(model, "does not turn the pairs that are left over");
  }
}
