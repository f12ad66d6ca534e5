package dev.laco.checkpoint;

import static dev.laco.checkpoint.TestCheckpoints.copy;
import static dev.laco.checkpoint.TestCheckpoints.edit;
import static dev.laco.checkpoint.TestCheckpoints.read;
import static dev.laco.checkpoint.TestCheckpoints.writeBytes;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.CancelledException;
import dev.laco.Fixtures;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.HostTensor;
import dev.laco.model.NonFinite;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointTest {
  private static final String INDEX = "model.safetensors.index.json";

  @TempDir Path folder;

  static Stream<String> fixtures() {
    return Fixtures.names();
  }

  @Test
  void anInterruptedThreadTakesTheFilesFromNobody() throws IOException {
    try (Checkpoint model = Checkpoint.open(Fixtures.STORYTELLER);
        FileChannel target =
            FileChannel.open(
                folder.resolve("copy"), StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
      String name = model.weightNames().getFirst();
      Thread.currentThread().interrupt();
      assertTrue(model.file(name).tensor(name).data().byteSize() > 0);
      assertThrows(CancelledException.class, model::weightsDigest);
      assertTrue(Thread.interrupted());
      assertTrue(model.weightsDigest().startsWith("sha256:"));
      model.weightNames().forEach(model::requireFinite);
      model.file(name).copyTo(name, target);
      assertEquals(model.byteSize(name), target.size());
    }
  }

  @Test
  void everyNameOfAFolderIsANameForTheCLibrary() {
    Path named = copy("llama_untied_gqa", folder.resolve("a b%41?#/model"));
    try (Checkpoint model = Checkpoint.open(named)) {
      model.weightNames().forEach(model::requireFinite);
    }
  }

  @Test
  void aFileInWhosePlaceAnotherCameIsReadOnAsItWas() throws IOException {
    Path copied = copy("llama_untied_gqa", folder.resolve("model"));
    try (Checkpoint model = Checkpoint.open(copied);
        Checkpoint original = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      Files.delete(model.files().getFirst().path());
      Files.writeString(model.files().getFirst().path(), "another file");
      assertEquals(original.weightsDigest(), model.weightsDigest());
    }
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void everyFixtureOpensAndIsFinite(String name) {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(name))) {
      model.weightNames().forEach(model::requireFinite);
      long elements = model.tensors().stream().mapToLong(TensorInfo::elements).sum();
      assertEquals(elements, model.parameterCount());
      for (String weight : model.weightNames()) {
        HostTensor tensor = model.tensor(weight);
        assertEquals(model.file(weight).info(weight).shape(), tensor.shape());
      }
    }
  }

  @Test
  void aTiedHeadIsNotCountedTwice() {
    try (Checkpoint model = Checkpoint.open(Path.of("models/storyteller"))) {
      assertTrue(model.config().tieWordEmbeddings());
      assertFalse(model.weightNames().contains("lm_head.weight"));
      assertEquals(
          model.weightNames().stream().mapToLong(n -> model.tensor(n).elements()).sum(),
          model.parameterCount());
    }
  }

  @Test
  void shardsWithoutAnIndexAreFoundByTheirNames() throws IOException {
    Path model = copy("llama_untied_gqa", folder.resolve("m"));
    String digest = digest(model);
    Files.delete(model.resolve(INDEX));
    assertEquals(digest, digest(model));
    Files.delete(model.resolve("model-00003-of-00006.safetensors"));
    assertBad(model, "shard 3 of 6 is missing: model-00003-of-00006.safetensors");
  }

  /**
   * Escapes in names, keys in another order, keys that are not known, white space, no metadata,
   * data from an odd address on in no particular order: what the format allows and writers avoid.
   */
  @Test
  void anUnusualButLegalLayoutHoldsTheSameModel() {
    Path model = copy("llama_linear", folder.resolve("m"));
    try (Checkpoint expected = Checkpoint.open(Fixtures.model("llama_linear"))) {
      StringBuilder header = new StringBuilder("{");
      ByteArrayOutputStream data = new ByteArrayOutputStream();
      for (String name : expected.weightNames().reversed()) {
        TensorInfo info = expected.file(name).info(name);
        int begin = data.size();
        data.writeBytes(expected.file(name).bytes(name).toArray(ValueLayout.JAVA_BYTE));
        header.append(
            String.format(
                Locale.ROOT,
                "%s\n\t\"\\u%04x%s\" : { \"data_offsets\":[%d, %d],\r\n\"note\":null,\"shape\":%s,\"dtype\":\"F32\"}",
                header.length() == 1 ? "" : ",",
                (int) name.charAt(0),
                name.substring(1),
                begin,
                data.size(),
                info.shape()));
      }
      header.append("\n}").append(" ".repeat(2 - header.length() % 2)).append('\n');
      assertEquals(1, header.length() % 2);
      TestCheckpoints.write(
          model.resolve("model.safetensors"), header.toString(), data.toByteArray());
      try (Checkpoint found = Checkpoint.open(model)) {
        assertEquals(expected.digest(), found.digest());
        assertEquals(expected.weightsDigest(), found.weightsDigest());
        for (String name : expected.weightNames()) {
          HostTensor tensor = found.tensor(name);
          assertEquals(1, tensor.data().address() % 2);
          assertEquals(-1, expected.tensor(name).data().mismatch(tensor.data()), name);
        }
      }
    }
  }

  @Test
  void theDigestIsOfConfigAndTableAndNotOfLayoutOrBytes() {
    Path model = copy("llama_linear", folder.resolve("m"));
    String digest = digest(model);
    assertTrue(digest.matches("sha256:[0-9a-f]{64}"));
    edit(model.resolve("config.json"), text -> text.replace("\n", "\n "));
    TestCheckpoints.setElement(model, "model.norm.weight", 0, 7f);
    assertEquals(digest, digest(model));
    edit(model.resolve("config.json"), text -> text.replace("10000.0", "10001.0"));
    assertNotEquals(digest, digest(model));
  }

  @Test
  void modelsInAHuggingFaceCacheAreFollowedThroughTheirLinks() throws IOException {
    Path blobs = copy("qwen2_bias", folder.resolve("models--q/blobs"));
    Path snapshot = Files.createDirectories(folder.resolve("models--q/snapshots/abc"));
    try (Stream<Path> files = Files.list(blobs)) {
      int i = 0;
      for (Path file : files.sorted().toList()) {
        Path blob = Files.move(file, blobs.resolve(String.format(Locale.ROOT, "%064x", i++)));
        Files.createSymbolicLink(
            snapshot.resolve(file.getFileName()),
            Path.of("../../blobs").resolve(blob.getFileName()));
      }
    }
    Path link = Files.createSymbolicLink(folder.resolve("link"), snapshot);
    assertEquals(digest(Fixtures.model("qwen2_bias")), digest(link));
  }

  /**
   * A change to a copy of llama_untied_gqa (8 layers, 6 shards, an index), and what it must say.
   */
  static Stream<Arguments> broken() {
    return Stream.of(
        broken("no config", m -> delete(m, "config.json"), "config.json: no such file"),
        broken("empty config", m -> put(m, "config.json", ""), "config.json: is not a JSON object"),
        broken("bad JSON", m -> put(m, "config.json", "{\"a\":\n}"), "not valid JSON at line 2"),
        broken("a list", m -> put(m, "config.json", "[]"), "config.json: is not a JSON object"),
        broken("key twice", m -> put(m, "config.json", "{\"a\":1,\"a\":1}"), "Duplicate field 'a'"),
        broken(
            "trailing text", m -> put(m, "config.json", "{} x"), "config.json: is not valid JSON"),
        broken(
            "wrong type",
            m -> config(m, "\"hidden_size\": 64", "\"hidden_size\": \"64\""),
            "hidden_size"),
        broken(
            "unknown architecture",
            m -> config(m, "LlamaForCausalLM", "MambaForCausalLM"),
            "MambaForCausalLM is not supported"),
        broken(
            "quantised by config",
            m ->
                config(
                    m,
                    "\"mlp_bias\"",
                    "\"quantization_config\": {\"quant_method\": \"awq\"}, \"mlp_bias\""),
            "quantization_config"),
        broken(
            "fewer layers in the config",
            m -> config(m, "\"num_hidden_layers\": 8", "\"num_hidden_layers\": 7"),
            "belongs to layer 7, but config.json says num_hidden_layers 7"),
        broken(
            "more layers in the config",
            m -> config(m, "\"num_hidden_layers\": 8", "\"num_hidden_layers\": 9"),
            "layer 8 is missing"),
        broken(
            "wrong shapes",
            m -> config(m, "\"intermediate_size\": 160", "\"intermediate_size\": 96"),
            "has shape [160, 64], but config.json calls for [96, 64]"),
        broken(
            "missing bias",
            m -> config(m, "\"attention_bias\": false", "\"attention_bias\": true"),
            "tensor 'model.layers.0.self_attn.q_proj.bias' is missing"),
        broken(
            "absurdly many layers",
            m -> config(m, "\"num_hidden_layers\": 8", "\"num_hidden_layers\": 67108864"),
            "num_hidden_layers: expected at most 10000"),
        broken(
            "shard missing",
            m -> delete(m, "model-00002-of-00006.safetensors"),
            "model-00002-of-00006.safetensors: no such file"),
        broken(
            "shard truncated",
            m -> truncate(m, "model-00002-of-00006.safetensors"),
            "model-00002-of-00006.safetensors: tensor"),
        broken(
            "shard is a folder",
            m -> folderInstead(m, "model-00002-of-00006.safetensors"),
            "is not a regular file"),
        broken("index is no JSON", m -> put(m, INDEX, "{"), INDEX + ": is not valid JSON"),
        broken(
            "index without a map",
            m -> put(m, INDEX, "{\"metadata\":{}}"),
            "weight_map is not an object with entries"),
        broken(
            "index entry is a number",
            m -> put(m, INDEX, "{\"weight_map\":{\"a\":1}}"),
            "entry 'a' is not a file name"),
        broken(
            "index leaves the folder",
            m -> put(m, INDEX, "{\"weight_map\":{\"a\":\"../b.safetensors\"}}"),
            "'../b.safetensors', which is not inside the model's folder"),
        broken(
            "index leaves the folder late",
            m -> put(m, INDEX, "{\"weight_map\":{\"a\":\"x/../../b.safetensors\"}}"),
            "not inside the model's folder"),
        broken(
            "index entry is absolute",
            m -> put(m, INDEX, "{\"weight_map\":{\"a\":\"/etc/passwd\"}}"),
            "'/etc/passwd', which is not inside the model's folder"),
        broken(
            "index entry has a NUL",
            m -> put(m, INDEX, "{\"weight_map\":{\"a\":\"b\\u0000\"}}"),
            "names no valid file"),
        broken(
            "index entry too many",
            m ->
                index(
                    m,
                    "\"lm_head.weight\"",
                    "\"lm_head.bias\": \"model-00001-of-00006.safetensors\", \"lm_head.weight\""),
            "tensor 'lm_head.bias' is not in model-00001-of-00006.safetensors"),
        broken(
            "index entry in another shard",
            m ->
                index(
                    m,
                    "\"model.norm.weight\": \"model-00006",
                    "\"model.norm.weight\": \"model-00001"),
            "tensor 'model.norm.weight' should be in model-00001-of-00006.safetensors but is in model-00006-of-00006.safetensors"),
        broken(
            "index entry too few",
            m -> index(m, "\"model.norm.weight\"", "\"model.norm.height\""),
            "model.norm.height"),
        broken(
            "NaN",
            m -> TestCheckpoints.setElement(m, "model.layers.3.mlp.up_proj.weight", 5, Float.NaN),
            "tensor 'model.layers.3.mlp.up_proj.weight' holds NaN or infinity at element 5 of 10240"),
        broken(
            "infinity at the end",
            m ->
                TestCheckpoints.setElement(
                    m, "lm_head.weight", 256 * 64 - 1, Float.NEGATIVE_INFINITY),
            "'lm_head.weight' holds NaN or infinity at element 16383"));
  }

  private static Arguments broken(String what, Consumer<Path> change, String message) {
    return Arguments.argumentSet(what, change, message);
  }

  @ParameterizedTest
  @MethodSource("broken")
  void brokenInputIsNamed(Consumer<Path> change, String message) {
    Path model = copy("llama_untied_gqa", folder.resolve("m"));
    change.accept(model);
    assertBad(model, message);
  }

  @Test
  void tensorsThatDoNotBelongAreRefusedExceptLeftoversOfOldVersions() {
    String table = "\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
    assertSurplus(
        String.format(Locale.ROOT, table, "model.layers.0.self_attn.rotary_emb.inv_freq"), null);
    assertSurplus(String.format(Locale.ROOT, table, "lm_head.weight"), null);
    assertSurplus(
        String.format(Locale.ROOT, table, "model.layers.0.extra.weight"),
        "'model.layers.0.extra.weight' is not part of a LlamaForCausalLM");
    assertSurplus(
        String.format(Locale.ROOT, table, "model.layers.0.mlp.up_proj.qweight"),
        "part of a quantised model");
    assertSurplus(
        "\"x\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}",
        "'x' (F8_E4M3) is part of a quantised model");
  }

  /** llama_linear (tied) with one more shard. */
  private void assertSurplus(String entry, @org.jspecify.annotations.Nullable String message) {
    try {
      Path model = Files.createTempDirectory(folder, "m");
      Files.copy(
          Fixtures.model("llama_linear").resolve("config.json"), model.resolve("config.json"));
      Files.copy(
          Fixtures.model("llama_linear").resolve("model.safetensors"),
          model.resolve("model-00001-of-00002.safetensors"));
      TestCheckpoints.write(
          model.resolve("model-00002-of-00002.safetensors"), "{" + entry + "}", new byte[4]);
      if (message == null) {
        Checkpoint.open(model).close();
      } else {
        assertBad(model, message);
      }
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void aTensorInTwoShardsIsRefused() throws IOException {
    Path model = copy("llama_untied_gqa", folder.resolve("m"));
    Files.delete(model.resolve(INDEX));
    Path first = model.resolve("model-00001-of-00006.safetensors");
    Path second = model.resolve("model-00002-of-00006.safetensors");
    Files.copy(first, second, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
    assertBad(model, "is also in model-00001-of-00006.safetensors");
  }

  @ParameterizedTest
  @ValueSource(strings = {"model.onnx", "consolidated.00.pth", "other.safetensors"})
  void weightsOfOtherFormatsAreNamed(String name) throws IOException {
    put(folder, "config.json", "{}");
    put(folder, name, "x");
    assertBad(folder, "holds " + name + " but no model.safetensors or pytorch_model.bin");
    Files.delete(folder.resolve(name));
    assertBad(folder, "holds no weights; expected model.safetensors or pytorch_model.bin");
  }

  @Test
  void aModelThatIsNotThereIsBadInput() {
    assertBad(folder.resolve("absent"), "absent: is no folder");
  }

  @Test
  void aModelOfUnknownArchitectureCanBeLookedAt() {
    Path model = copy("llama_linear", folder.resolve("m"));
    config(model, "LlamaForCausalLM", "MambaForCausalLM");
    try (Checkpoint checkpoint = Checkpoint.openAny(model)) {
      assertEquals("MambaForCausalLM", checkpoint.configJson().at("/architectures/0").textValue());
      assertFalse(checkpoint.tensors().isEmpty());
      assertThrows(BadInputException.class, checkpoint::requireSupported);
    }
  }

  static IntStream seeds() {
    return IntStream.range(0, 20);
  }

  /** Whatever happens to the text of config and index, the model opens or is refused. */
  @ParameterizedTest
  @MethodSource("seeds")
  void mutatedJsonOpensOrIsRefused(int seed) {
    Random random = new Random(seed);
    Path model = copy("qwen3_qknorm", folder.resolve("m"));
    String[] tokens = {
      "-1", "1e999999999", "null", "\"", "{", "]", "99999999999", "0.5", "\\", "true"
    };
    for (int round = 0; round < 20; round++) {
      for (String name : new String[] {"config.json", INDEX}) {
        byte[] good = read(Fixtures.model("qwen3_qknorm").resolve(name));
        int at = random.nextInt(good.length);
        int length = random.nextInt(6);
        String token = tokens[random.nextInt(tokens.length)];
        String text = new String(good, StandardCharsets.UTF_8);
        put(
            model,
            name,
            text.substring(0, at) + token + text.substring(Math.min(text.length(), at + length)));
      }
      try (Checkpoint checkpoint = Checkpoint.open(model)) {
        checkpoint.weightNames().forEach(checkpoint::requireFinite);
      } catch (BadInputException e) {
        assertEquals(1, e.getMessage().lines().count(), e.getMessage());
      }
    }
  }

  /** Whether weights are only looked at, or asked for after they were read ahead. */
  private static void assertBad(Path model, String message) {
    assertBad(model, message, c -> c.weightNames().forEach(c::requireFinite));
    assertBad(
        model,
        message,
        c -> {
          c.prefetch(List.copyOf(c.weightNames()));
          c.weightNames().forEach(c::tensor);
        });
  }

  private static void assertBad(Path model, String message, Consumer<Checkpoint> read) {
    var e =
        assertThrows(
            BadInputException.class,
            () -> {
              try (Checkpoint checkpoint = Checkpoint.open(model)) {
                read.accept(checkpoint);
              }
            });
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertTrue(e.getMessage().contains(model.toString()), e.getMessage());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
  }

  private static String digest(Path model) {
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      return checkpoint.digest();
    }
  }

  private static void put(Path model, String name, String text) {
    writeBytes(model.resolve(name), text.getBytes(StandardCharsets.UTF_8));
  }

  private static void config(Path model, String from, String to) {
    edit(model.resolve("config.json"), text -> text.replace(from, to));
  }

  private static void index(Path model, String from, String to) {
    edit(model.resolve(INDEX), text -> text.replace(from, to));
  }

  private static void truncate(Path model, String name) {
    byte[] bytes = read(model.resolve(name));
    writeBytes(model.resolve(name), Arrays.copyOf(bytes, bytes.length - 1));
  }

  private static void delete(Path model, String name) {
    try {
      Files.delete(model.resolve(name));
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static void folderInstead(Path model, String name) {
    delete(model, name);
    try {
      Files.createDirectory(model.resolve(name));
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  /** Changes an element of an F32 tensor in its file. */
  @ParameterizedTest
  @ValueSource(strings = {"llama_untied_gqa", "llama_mha_bias_f16", "mistral_std"})
  void everyTypeAndPlaceOfANonFiniteValueIsFound(String fixture) {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(fixture))) {
      HostTensor tensor = model.tensor("model.layers.0.input_layernorm.weight");
      int size = tensor.dtype().byteSize();
      byte[] good = tensor.data().toArray(ValueLayout.JAVA_BYTE);
      assertEquals(-1, firstNonFinite(tensor, good, good.length));
      int[] patterns =
          switch (tensor.dtype()) {
            case F32 -> new int[] {0x7f800000, 0xff800000, 0x7f800001, 0xffffffff, 0x7fc00000};
            case F16 -> new int[] {0x7c00, 0xfc00, 0x7c01, 0xffff, 0x7e00};
            case BF16 -> new int[] {0x7f80, 0xff80, 0x7f81, 0xffff, 0x7fc0};
          };
      for (int pattern : patterns) {
        for (int index = 0; index < tensor.elements(); index++) {
          byte[] bad = good.clone();
          for (int b = 0; b < size; b++) {
            bad[index * size + b] = (byte) (pattern >>> (8 * b));
          }
          // Every length of tail, with the bad element first and last in it.
          assertEquals(index, firstNonFinite(tensor, bad, (index + 1) * size));
          assertEquals(index, firstNonFinite(tensor, bad, bad.length));
        }
      }
      assertArrayEquals(good, tensor.data().toArray(ValueLayout.JAVA_BYTE));
    }
  }

  private static long firstNonFinite(HostTensor like, byte[] bytes, int length) {
    return NonFinite.first(
        like.dtype(), java.lang.foreign.MemorySegment.ofArray(Arrays.copyOf(bytes, length)));
  }
}
