package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MutatedFiles;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Locale;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Checkpoints of codes with scales. */
class ScaledWeightsTest {
  private static final Path QUANTISED = Fixtures.RESOURCES.resolve("quantised");
  private static final String MATRIX = "model.layers.1.mlp.up_proj.weight";

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "fp8_block, f8_e4m3",
    "fp8_tensor, f8_e4m3",
    "int8_channel, i8",
    "float8_channel, f8_e4m3"
  })
  void theWeightsAreThoseThatOtherLibrariesCompute(String name, String codes) {
    Path expected = QUANTISED.resolve(name).resolve("expected.safetensors");
    try (Checkpoint model = Checkpoint.open(QUANTISED.resolve(name).resolve("model"));
        WeightFile weights = WeightFile.open(expected)) {
      assertFalse(model.configJson().has("quantization_config"));
      assertEquals(weights.tensors().size(), model.weightNames().size());
      for (int pass = 0; pass < 2; pass++) {
        model.prefetch(model.weightNames());
        for (String weight : model.weightNames()) {
          HostTensor found = model.tensor(weight);
          assertEquals(DType.BF16, found.dtype());
          assertEquals(weights.info(weight).shape(), found.shape());
          assertEquals(-1, weights.bytes(weight).mismatch(found.data()), weight);
          assertEquals(found.data().byteSize(), model.byteSize(weight));
          model.giveUp(weight);
        }
      }
      assertEquals("bf16 from " + codes, model.file(MATRIX).info(MATRIX).type().shortName());
      assertEquals(
          codes, model.file(MATRIX).info(MATRIX).type().toString().toLowerCase(Locale.ROOT));
    }
  }

  @Test
  void expertsInMxfp4AreThoseThatTransformersComputes() {
    try (Checkpoint model = Checkpoint.open(QUANTISED.resolve("mxfp4/model"));
        WeightFile weights = WeightFile.open(QUANTISED.resolve("mxfp4/expected.safetensors"))) {
      assertFalse(model.configJson().has("quantization_config"));
      assertEquals(weights.tensors().size(), model.weightNames().size());
      for (String weight : model.weightNames()) {
        HostTensor found = model.tensor(weight);
        assertEquals(weights.info(weight).shape(), found.shape());
        assertEquals(-1, weights.bytes(weight).mismatch(found.data()), weight);
      }
      String experts = "model.layers.1.mlp.experts.down_proj";
      assertEquals("bf16 from mxfp4", model.file(experts).info(experts).type().shortName());
    }
  }

  @Test
  void expertsInMxfp4WithoutScalesAreRefused() {
    String down = "model.layers.1.mlp.experts.down_proj";
    Path without = copy("mxfp4");
    rename(without, down + "_scales", down.replace(".1.", ".7.") + "_scales");
    assertBad(without, "tensor '" + down + "_blocks' has no scales");
    Path reshaped = copy("mxfp4");
    rename(reshaped, "[2,64,1]", "[2,1,64]");
    assertBad(reshaped, "down_proj_scales' has shape [2, 1, 64], expected [2, 64, 1]");
    Path flat = copy("mxfp4");
    rename(flat, "[2,64,1,16]", "[2,64,16,1]");
    assertBad(flat, "down_proj_blocks' has shape [2, 64, 16, 1], not [experts, rows, groups, 16]");
  }

  /** A tensor of no bytes may have extents of any size, whose product is more than 63 bits have. */
  @Test
  void expertsInMxfp4WithoutRowsAreRefused() throws IOException {
    for (String shape :
        new String[] {"[0,1,1152921504606846976,16]", "[1048576,0,274877906944,16]"}) {
      Path model = copy("mxfp4");
      Path file = model.resolve("model.safetensors");
      byte[] bytes = TestCheckpoints.read(file);
      ByteBuffer header = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
      int length = Math.toIntExact(header.getLong());
      String table = new String(bytes, Long.BYTES, length, StandardCharsets.UTF_8).strip();
      int end = bytes.length - Long.BYTES - length;
      String more =
          String.format(
              Locale.ROOT,
              ",\"x_blocks\":{\"dtype\":\"U8\",\"shape\":%s,\"data_offsets\":[%d,%d]}}",
              shape,
              end,
              end);
      byte[] longer =
          (table.substring(0, table.length() - 1) + more).getBytes(StandardCharsets.UTF_8);
      ByteBuffer written =
          ByteBuffer.allocate(Long.BYTES + longer.length + end).order(ByteOrder.LITTLE_ENDIAN);
      written.putLong(longer.length).put(longer).put(bytes, Long.BYTES + length, end);
      TestCheckpoints.writeBytes(file, written.array());
      assertBad(model, "tensor 'x_blocks' has shape " + shape.replace(",", ", "));
    }
  }

  @Test
  void scalesMayLieInAnotherFile() throws IOException {
    Path model = copy("fp8_block");
    Path single = model.resolve("model.safetensors");
    try (WeightFile file = WeightFile.open(single)) {
      write(model, 1, file, MATRIX + "_scale_inv", true);
      write(model, 2, file, MATRIX + "_scale_inv", false);
    }
    Files.delete(single);
    try (Checkpoint split = Checkpoint.open(model);
        Checkpoint whole = Checkpoint.open(QUANTISED.resolve("fp8_block/model"))) {
      assertEquals(2, split.files().size());
      assertEquals(-1, whole.tensor(MATRIX).data().mismatch(split.tensor(MATRIX).data()));
    }
  }

  /** A shard with a tensor alone, or with all others. */
  private static void write(Path model, int shard, WeightFile file, String name, boolean alone)
      throws IOException {
    StringBuilder header = new StringBuilder("{");
    java.io.ByteArrayOutputStream data = new java.io.ByteArrayOutputStream();
    for (TensorInfo info : file.tensors()) {
      if (info.name().equals(name) == alone) {
        int begin = data.size();
        data.write(file.bytes(info.name()).toArray(java.lang.foreign.ValueLayout.JAVA_BYTE));
        header.append(
            String.format(
                Locale.ROOT,
                "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}",
                header.length() == 1 ? "" : ",",
                info.name(),
                info.type().name(),
                info.shape(),
                begin,
                data.size()));
      }
    }
    TestCheckpoints.write(
        model.resolve(String.format(Locale.ROOT, "model-%05d-of-00002.safetensors", shard)),
        header.append('}').toString(),
        data.toByteArray());
  }

  @Test
  void aMatrixWithoutScalesIsRefused() {
    Path model = copy("fp8_block");
    rename(model, MATRIX + "_scale_inv", MATRIX + "_scalf_inv");
    assertBad(model, "tensor '" + MATRIX + "': is F8_E4M3 and has no scales");
  }

  @Test
  void scalesOfATypeThatIsNotReadAreNamed() {
    Path model = copy("fp8_tensor");
    rename(
        model,
        "\"" + MATRIX + "_scale\":{\"dtype\":\"BF16\"",
        "\"" + MATRIX + "_scale\":{\"dtype\":\"U16\" ");
    assertBad(model, "tensor '" + MATRIX + "': scales of type U16 are not read");
    try (Checkpoint checkpoint = Checkpoint.openAny(model)) {
      assertEquals("bf16 from f8_e4m3", checkpoint.file(MATRIX).info(MATRIX).type().shortName());
    }
  }

  @Test
  void valuesWithAZeroPointAreRefused() throws IOException {
    Path model = copy("int8_channel");
    String zeros = "model.layers.1.mlp.up_proj.weight_zero_point";
    Files.move(
        model.resolve("model.safetensors"), model.resolve("model-00001-of-00002.safetensors"));
    Path second = model.resolve("model-00002-of-00002.safetensors");
    String header = "{\"" + zeros + "\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
    TestCheckpoints.write(second, header, new byte[2]);
    Checkpoint.open(model).close();
    TestCheckpoints.write(second, header, new byte[] {0, 1});
    assertBad(model, "tensor '" + MATRIX + "': values with a zero point are not read");
  }

  /** Whatever is done to config or header, the weights are computed or the model is refused. */
  @ParameterizedTest
  @ValueSource(strings = {"config.json", "model.safetensors"})
  void mutatedCheckpointsOpenOrAreRefused(String name) throws IOException {
    Path model = copy("fp8_block");
    Path file = model.resolve(name);
    int refused =
        MutatedFiles.refused(
            MutatedFiles.COUNT / 2,
            file,
            Math.min(4000, (int) Files.size(file)),
            "0123456789-,.[]{}\"x",
            () -> {
              try (Checkpoint checkpoint = Checkpoint.open(model)) {
                checkpoint.weightNames().forEach(checkpoint::tensor);
                return checkpoint.weightBytes();
              }
            });
    assertTrue(refused > 100 && refused < 495, refused + " refused");
  }

  @Test
  void scalesThatFitNoBlocksAreRefused() {
    Path model = copy("fp8_block");
    config(model, text -> text.replaceAll("16,\\s+16", "16, 15"));
    assertBad(model, "expected one for all, for each row, or for each block of [16, 15]");
  }

  @ParameterizedTest
  @ValueSource(strings = {"gptq", "awq", "bitsandbytes"})
  void otherMethodsAreRefusedByName(String method) {
    Path model = copy("fp8_block");
    config(model, text -> text.replace("\"fp8\"", "\"" + method + "\""));
    assertBad(model, "config.json: quantization_config: quantised by " + method + ", which is not");
  }

  @Test
  void codesOfFourBitsAreRefusedByTheirFormat() {
    Path model = copy("int8_channel");
    config(model, text -> text.replace("int-quantized", "pack-quantized"));
    assertBad(model, "quantised by compressed-tensors pack-quantized, which is not read");
  }

  @Test
  void aCodeThatIsNoNumberIsFound() {
    Path model = copy("fp8_tensor");
    Path file = model.resolve("model.safetensors");
    byte[] bytes = TestCheckpoints.read(file);
    try (WeightFile weights = WeightFile.open(file)) {
      bytes[(int) weights.info(MATRIX).offset() + 7] = 0x7f;
    }
    TestCheckpoints.writeBytes(file, bytes);
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      var e = assertThrows(BadInputException.class, () -> checkpoint.tensor(MATRIX));
      assertTrue(e.getMessage().contains("NaN or infinity at element 7"), e.getMessage());
    }
  }

  private Path copy(String name) {
    Path model = folder.resolve("m");
    try {
      Files.createDirectories(model);
      for (String file : new String[] {"config.json", "model.safetensors"}) {
        Files.copy(
            QUANTISED.resolve(name).resolve("model").resolve(file),
            model.resolve(file),
            StandardCopyOption.REPLACE_EXISTING);
      }
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return model;
  }

  private static void config(Path model, UnaryOperator<String> change) {
    TestCheckpoints.edit(model.resolve("config.json"), change);
  }

  private static void rename(Path model, String from, String to) {
    Path file = model.resolve("model.safetensors");
    String text = new String(TestCheckpoints.read(file), StandardCharsets.ISO_8859_1);
    assertTrue(text.contains(from));
    TestCheckpoints.writeBytes(file, text.replace(from, to).getBytes(StandardCharsets.ISO_8859_1));
  }

  private static void assertBad(Path model, String message) {
    var e = assertThrows(BadInputException.class, () -> Checkpoint.open(model));
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertTrue(e.getMessage().startsWith(model.toString()), e.getMessage());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
  }
}
