package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MutatedFiles;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.checkpoint.gguf.TestGguf;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** GGUF files that llama.cpp's converter made of the fixtures, beside these. */
class GgufCheckpointTest {
  @TempDir Path folder;

  private static Path gguf(String name) {
    return Fixtures.RESOURCES.resolve("gguf").resolve(name + ".gguf");
  }

  private static float[] values(HostTensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    for (int i = 0; i < values.length; i++) {
      values[i] =
          switch (tensor.dtype()) {
            case F32 -> tensor.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
            case F16 ->
                Float.float16ToFloat(tensor.data().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i));
            case BF16 ->
                DType.bf16ToFloat(tensor.data().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i));
          };
    }
    return values;
  }

  /** The largest difference that rounding to eight bits makes in a row, relative to its maximum. */
  private static final float Q8_0 = 0.57f / 127;

  @ParameterizedTest
  @CsvSource({
    "llama_tied_rope3, bf16, 0",
    "llama_mha_bias_f16, f16, 0",
    "llama_untied_gqa, q8_0, 1",
    "qwen2_bias, q8_0, 1",
    "qwen3_qknorm, q8_0, 1",
    "phi3_std, q8_0, 1",
    "granite, q8_0, 1",
    "smollm3_std, q8_0, 1",
    "gemma_v1, q8_0, 1",
    "gemma2_std, q8_0, 1",
    "gemma3_std, q8_0, 1",
    "olmo2, q8_0, 1",
    "mixtral, q8_0, 1",
    "olmoe, q8_0, 1",
    "gpt_neox, q8_0, 1",
    "internlm2, q8_0, 1",
    "gpt_oss, q8_0, 1"
  })
  void aGgufFileIsTheModelThatItWasMadeOf(String fixture, String type, int rounded) {
    same(Fixtures.model(fixture), gguf(fixture + "." + type), rounded);
  }

  /** FalconConfig of transformers derives the width of a head, and does not let it be set. */
  @ParameterizedTest
  @ValueSource(strings = {"falcon.f16", "falcon_two_norms.f16"})
  void theConfigOfAFalconDoesNotNameTheWidthOfAHead(String name) {
    try (Checkpoint gguf = Checkpoint.open(gguf(name))) {
      assertFalse(gguf.configJson().has("head_dim"));
      assertEquals(8, gguf.config().headDim());
    }
  }

  @Test
  void expertsInMxfp4AreThoseOfTheFolder() {
    Path folder = Fixtures.RESOURCES.resolve("quantised/mxfp4/model");
    same(folder, gguf("gpt_oss.mxfp4"), 0);
    try (Checkpoint gguf = Checkpoint.open(gguf("gpt_oss.mxfp4"))) {
      String experts = "model.layers.1.mlp.experts.gate_up_proj";
      assertEquals(DType.BF16, gguf.tensor(experts).dtype());
    }
  }

  @Test
  void expertsInMxfp4StaySoInAWrittenFile() {
    Path model = Fixtures.RESOURCES.resolve("quantised/mxfp4/model");
    Path file = folder.resolve("out.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      new GgufExport(checkpoint, GgufType.F32, warning -> {}).write(file, bytes -> {});
    }
    same(model, file, 0);
    try (Checkpoint written = Checkpoint.open(file)) {
      String experts = "model.layers.1.mlp.experts.down_proj";
      assertEquals(GgufType.MXFP4, written.file(experts).info(experts).type());
    }
  }

  private static void same(Path folder, Path file, int rounded) {
    try (Checkpoint original = Checkpoint.open(folder);
        Checkpoint gguf = Checkpoint.open(file)) {
      assertEquals(original.config(), gguf.config());
      assertEquals(original.weightNames(), gguf.weightNames());
      for (String name : original.weightNames()) {
        HostTensor expected = original.tensor(name);
        HostTensor found = gguf.tensor(name);
        assertEquals(expected.shape(), found.shape(), name);
        assertEquals(found.data().byteSize(), gguf.byteSize(name), name);
        float[] wanted = values(expected);
        float[] values = values(found);
        float most = 0;
        for (float value : wanted) {
          most = Math.max(most, Math.abs(value));
        }
        for (int i = 0; i < wanted.length; i++) {
          assertEquals(wanted[i], values[i], rounded * most * Q8_0, name + " " + i);
        }
      }
      gguf.requireIntact();
    }
  }

  @Test
  void aComputedTensorStaysInItsPlaceAndIsComputedAgainAfterItWasGivenUp() {
    try (Checkpoint gguf = Checkpoint.open(gguf("qwen2_bias.q8_0"))) {
      String name = "model.layers.1.mlp.down_proj.weight";
      HostTensor tensor = gguf.tensor(name);
      assertEquals(DType.F32, tensor.dtype());
      float[] values = values(tensor);
      gguf.giveUp(name);
      assertEquals(0, values(gguf.placeOf(name))[0]);
      gguf.prefetch(List.of(name));
      HostTensor again = gguf.tensor(name);
      assertEquals(tensor.data().address(), again.data().address());
      assertArrayEquals(values, values(again));
    }
  }

  /** The values are right in every pass through a pool that has room for one layer and a half. */
  @Test
  void aPoolGivesUpWhatWasComputed() {
    try (Checkpoint gguf = Checkpoint.open(gguf("llama_untied_gqa.q8_0"));
        Checkpoint other = Checkpoint.open(gguf("llama_untied_gqa.q8_0"))) {
      WeightPool pool =
          new WeightPool(gguf, gguf, gguf.layerBytes(0) * 3 / 2, "given are ", gguf::giveUp);
      for (int pass = 0; pass < 3; pass++) {
        for (int layer = 0; layer < gguf.config().numHiddenLayers(); layer++) {
          pool.release();
          pool.prefetch(gguf.config().architecture().tensorNames(layer, gguf.config()));
          for (String name : gguf.config().architecture().tensorNames(layer, gguf.config())) {
            assertArrayEquals(values(other.tensor(name)), values(pool.tensor(name)), name);
          }
        }
        assertEquals(0, values(gguf.placeOf("model.layers.0.mlp.up_proj.weight"))[0]);
      }
    }
  }

  @Test
  void valuesThatAreNotFiniteAreFoundInWhatIsComputed() throws IOException {
    byte[] bytes = Files.readAllBytes(gguf("qwen2_bias.q8_0"));
    String name = "model.layers.1.mlp.down_proj.weight";
    Path file = folder.resolve("a.gguf");
    try (Checkpoint gguf = Checkpoint.open(gguf("qwen2_bias.q8_0"))) {
      long at = gguf.file(name).info(name).offset() + 34;
      bytes[(int) at] = 0;
      bytes[(int) at + 1] = 0x7c;
    }
    Files.write(file, bytes);
    try (Checkpoint broken = Checkpoint.open(file)) {
      BadInputException refused = assertThrows(BadInputException.class, () -> broken.tensor(name));
      assertTrue(refused.getMessage().contains(name + "' holds NaN"), refused::getMessage);
      assertTrue(refused.getMessage().contains("element 32 of"), refused::getMessage);
    }
  }

  /**
   * Whatever is done to metadata and table of tensors, the weights are computed or the file is
   * refused: rows in another order, and several weights in one tensor.
   */
  @ParameterizedTest
  @CsvSource({"gpt_neox.q8_0, 4096", "granitemoe.f16, 3680", "gpt_oss.mxfp4, 3584"})
  void mutatedFilesOpenOrAreRefused(String name, int header) throws IOException {
    Path file = Files.copy(gguf(name), folder.resolve(name + ".gguf"));
    int refused =
        MutatedFiles.refused(
            MutatedFiles.COUNT / 2,
            file,
            header,
            "\0\1\2\4\u0008\u0009\u0010\u00ff",
            () -> {
              try (Checkpoint checkpoint = Checkpoint.open(file)) {
                checkpoint.weightNames().forEach(checkpoint::tensor);
                return checkpoint.weightBytes();
              }
            });
    assertTrue(refused > 50, refused + " refused");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "qwen2.block_count",
        "qwen2.embedding_length",
        "qwen2.attention.head_count",
        "qwen2.attention.layer_norm_rms_epsilon"
      })
  void aMissingKeyIsNamed(String key) throws IOException {
    String text = Files.readString(gguf("qwen2_bias.q8_0"), StandardCharsets.ISO_8859_1);
    Path file = folder.resolve("a.gguf");
    Files.writeString(
        file, text.replace(key, key.replace("qwen2", "other")), StandardCharsets.ISO_8859_1);
    BadInputException refused = assertThrows(BadInputException.class, () -> Checkpoint.open(file));
    assertTrue(refused.getMessage().contains("'" + key + "' is missing"), refused::getMessage);
  }

  @Test
  void whatIsNotSupportedIsRefusedByName() {
    BadInputException refused =
        assertThrows(BadInputException.class, () -> Checkpoint.open(TestGguf.TYPES));
    assertTrue(refused.getMessage().contains("made-up is not supported"), refused::getMessage);
  }
}
