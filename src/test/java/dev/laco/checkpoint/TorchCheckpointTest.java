package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.model.HostTensor;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Checkpoints whose weights are files of torch.save. */
class TorchCheckpointTest {
  private static final String INDEX = "pytorch_model.bin.index.json";

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "llama_untied_gqa, 1",
    "llama_tied_rope3, 3",
    "llama_mha_bias_f16, 2",
    "qwen2_bias, 1",
    "mistral_std, 4"
  })
  void aCheckpointIsTheSameInEitherContainer(String fixture, int shards) {
    Path torch = TorchFiles.copy(Fixtures.model(fixture), folder.resolve("m"), shards);
    try (Checkpoint model = Checkpoint.open(Fixtures.model(fixture));
        Checkpoint found = Checkpoint.open(torch)) {
      assertEquals(shards, found.files().size());
      assertEquals(model.digest(), found.digest());
      assertEquals(model.weightsDigest(), found.weightsDigest());
      assertEquals(model.parameterCount(), found.parameterCount());
      assertEquals(model.weightBytes(), found.weightBytes());
      assertEquals(model.weightNames(), found.weightNames());
      found.prefetch(found.weightNames());
      for (String name : model.weightNames()) {
        HostTensor expected = model.tensor(name);
        HostTensor tensor = found.tensor(name);
        assertEquals(expected.dtype(), tensor.dtype());
        assertEquals(expected.shape(), tensor.shape());
        assertEquals(-1, expected.data().mismatch(tensor.data()), name);
        found.giveUp(name);
      }
    }
  }

  @Test
  void safetensorsWinWhereBothAreThere() throws Exception {
    Path both = TestCheckpoints.copy("llama_linear", folder.resolve("m"));
    Files.writeString(both.resolve("pytorch_model.bin"), "never opened");
    try (Checkpoint model = Checkpoint.open(both)) {
      assertEquals("model.safetensors", model.files().getFirst().path().getFileName().toString());
    }
    Files.delete(both.resolve("model.safetensors"));
    assertBad(both, "pytorch_model.bin: is no file of torch.save");
  }

  @Test
  void shardsWithoutAnIndexAreFoundByTheirNames() throws Exception {
    Path model = TorchFiles.copy(Fixtures.model("llama_linear"), folder.resolve("m"), 2);
    Files.delete(model.resolve(INDEX));
    Checkpoint.open(model).close();
    Files.delete(model.resolve("pytorch_model-00001-of-00002.bin"));
    assertBad(model, "shard 1 of 2 is missing: pytorch_model-00001-of-00002.bin");
  }

  @Test
  void anIndexIsHeldToItsFiles() {
    Path model = TorchFiles.copy(Fixtures.model("llama_linear"), folder.resolve("m"), 2);
    TestCheckpoints.edit(
        model.resolve(INDEX), text -> text.replace("model.norm.weight", "model.norm.height"));
    assertBad(model, INDEX + ": tensor 'model.norm.height' is not in");
  }

  @Test
  void aLinkToNothingIsNoReasonToTakeOtherWeights() throws Exception {
    Path model = TorchFiles.copy(Fixtures.model("llama_linear"), folder.resolve("m"), 1);
    Files.createSymbolicLink(model.resolve("model.safetensors"), Path.of("nowhere"));
    assertBad(model, "model.safetensors: is a symbolic link to nothing");
  }

  private static void assertBad(Path model, String message) {
    var e = assertThrows(BadInputException.class, () -> Checkpoint.open(model));
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
  }
}
