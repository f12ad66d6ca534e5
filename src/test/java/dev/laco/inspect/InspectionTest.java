package dev.laco.inspect;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.ByteSize;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.gguf.TestGguf;
import dev.laco.model.Loader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class InspectionTest {
  @TempDir Path folder;

  @Test
  void aSupportedModelIsDescribedAsItIsOpened() {
    ModelInspection found = ModelInspection.of(Fixtures.STORYTELLER);
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      assertTrue(found.isSupported());
      assertNull(found.whyNot());
      assertEquals("LlamaForCausalLM", found.architecture());
      assertEquals(model.config().numHiddenLayers(), found.layers());
      assertEquals(model.checkpoint().parameterCount(), found.parameters());
      assertEquals(model.checkpoint().digest(), found.digest());
      assertEquals(
          Set.of(
              "architecture",
              "modelType",
              "layers",
              "parameters",
              "dtype",
              "bytes",
              "files",
              "supported",
              "parts",
              "prunedConfig",
              "rules",
              "loaders",
              "digest"),
          keys(found));
      assertEquals(
          found.parameters(), found.parts().values().stream().mapToLong(Long::longValue).sum());
      assertEquals("num_hidden_layers", found.prunedConfig());
    }
  }

  @Test
  void theKeysThatDependOnDepthAreNamed() {
    Path model = TestCheckpoints.copy("qwen2_bias", folder.resolve("model"));
    String types = "\"layer_types\": [" + "\"full_attention\", ".repeat(8).replaceAll(", $", "]");
    TestCheckpoints.edit(
        model.resolve("config.json"),
        text -> text.replaceFirst("\"use_sliding_window\": false", types));
    assertEquals("num_hidden_layers, layer_types", ModelInspection.of(model).prunedConfig());
  }

  @Test
  void whatIsNotSupportedIsDescribedAllTheSameWithTheReason() {
    Path model = TestCheckpoints.copy("llama_untied_gqa", folder.resolve("model"));
    TestCheckpoints.edit(
        model.resolve("config.json"), text -> text.replace("LlamaFor", "OtherFor"));
    ModelInspection found = ModelInspection.of(model);
    assertFalse(found.isSupported());
    assertNull(found.digest());
    assertEquals("OtherForCausalLM", found.architecture());
    assertTrue(found.parameters() > 0);
    assertTrue(
        InspectJson.of(found).get("reason").textValue().contains("OtherForCausalLM"),
        InspectJson.of(found)::toString);
    assertThrows(BadInputException.class, () -> ModelInspection.of(folder.resolve("none")));
  }

  /** Weights of an element type of their own do not hide the reason. */
  @Test
  void aKnownFamilyThatIsNotComputedHasItsReason() {
    Path model = TestCheckpoints.copy("llama_untied_gqa", folder.resolve("model"));
    TestCheckpoints.edit(
        model.resolve("config.json"),
        text ->
            text.replace("LlamaFor", "DeepseekV32For")
                .replaceFirst("\\{", "{\"quantization_config\": {\"quant_method\": \"fp8\"},"));
    String reason = InspectJson.of(ModelInspection.of(model)).get("reason").textValue();
    assertTrue(
        reason.contains(
            "DeepseekV32ForCausalLM is not supported: its attention chooses tokens by an indexer"),
        reason);
  }

  @Test
  void rulesAndLoadersAreNamedAndWhatIsRefusedHasAReason() {
    ModelInspection llama = ModelInspection.of(Fixtures.STORYTELLER);
    assertEquals(List.of("drop", "replace", "rdsc", "mean", "reconstruct", "fit"), llama.rules());
    assertEquals(List.of(Loader.values()), llama.loaders());
    assertEquals(Map.of(), llama.refused());
    ModelInspection mixed = ModelInspection.of(Fixtures.model("qwen3_moe"));
    assertEquals(List.of("drop", "reconstruct"), mixed.rules());
    assertTrue(mixed.refused().get("rdsc").contains("mixtures"), mixed::toString);
    ModelInspection baichuan = ModelInspection.of(Fixtures.model("baichuan2_13b"));
    assertEquals(List.of(Loader.TRANSFORMERS), baichuan.loaders());
    assertEquals(Set.of("vLLM", "llama.cpp", "jlama"), baichuan.refused().keySet());
  }

  @Test
  void aGgufFileIsDescribedWithItsMetadata() {
    ModelInspection found = ModelInspection.of(TestGguf.TYPES);
    assertFalse(found.isSupported());
    assertEquals("made-up", found.architecture());
    assertEquals(7, found.layers());
    assertEquals(1, found.files());
    assertTrue(found.dtype().contains("q4_k"), found::dtype);
    JsonNode metadata = InspectJson.of(found).get("metadata");
    assertEquals("string[3]", metadata.get("a.list.of.strings").textValue());
    assertEquals("1.0E-5", metadata.get("a.float32").textValue());
  }

  /** Quantised weights take more bytes in memory than in their file. */
  @Test
  void bytesAreThoseOfTheFile() throws IOException {
    Path file = Fixtures.RESOURCES.resolve("gguf/llama_untied_gqa.q8_0.gguf");
    long bytes = ModelInspection.of(file).bytes();
    assertTrue(bytes > 0.9 * Files.size(file) && bytes < Files.size(file), "" + bytes);
    try (Model model = Model.open(file)) {
      assertTrue(model.describe().endsWith(", " + ByteSize.show(bytes)), model::describe);
    }
  }

  private static Set<String> keys(ModelInspection found) {
    Set<String> keys = new HashSet<>();
    InspectJson.of(found).fieldNames().forEachRemaining(keys::add);
    return keys;
  }

  @Test
  void aMachineIsDescribedByWhatItHas() {
    MachineInspection machine = MachineInspection.take();
    assertTrue(machine.cpu());
    assertTrue(
        machine.findings().stream()
            .anyMatch(found -> found.name().equals("oneDNN") && found.text().contains("libdnnl")),
        machine::toString);
    assertFalse(machine.toString().contains("--"), machine::toString);
  }
}
