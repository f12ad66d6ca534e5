package dev.laco.apply;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.CancelledException;
import dev.laco.Fixtures;
import dev.laco.TestFiles;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufTensor;
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
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Pruned models as GGUF files, and folders in another element type. */
class PrunedGgufTest {
  @TempDir Path folder;

  private static Path gguf(String name) {
    return Fixtures.RESOURCES.resolve("gguf").resolve(name + ".gguf");
  }

  private record Gguf(MemorySegment bytes, GgufHeader header) {
    static Gguf read(Path file) throws IOException {
      MemorySegment bytes = MemorySegment.ofArray(Files.readAllBytes(file));
      return new Gguf(bytes, GgufHeader.read(file, bytes, 10_000));
    }

    Map<String, GgufTensor> tensors() {
      Map<String, GgufTensor> tensors = new TreeMap<>();
      header.tensors().forEach(tensor -> tensors.put(tensor.name(), tensor));
      return tensors;
    }

    byte[] data(String name) {
      GgufTensor tensor = tensors().get(name);
      return bytes.asSlice(tensor.offset(), tensor.byteSize()).toArray(ValueLayout.JAVA_BYTE);
    }
  }

  /** The first layer is mixed with the next, and the two behind the third are removed. */
  private static CollapsePlan plan(Checkpoint model) {
    return CollapsePlan.identity(PlanApplier.source(model))
        .fold(2, 2, MergeRule.parse("drop"), NormsPolicy.MERGE)
        .fold(0, 1, MergeRule.parse("mean"), NormsPolicy.MERGE);
  }

  private static PlanApplier applier(Checkpoint model, OutputFormat format) {
    return new PlanApplier(
        model, plan(model), new PlanTensors(NewWeights.NONE), format, warning -> {});
  }

  private static void write(Path source, OutputFormat format, Path out) {
    try (Checkpoint model = Checkpoint.open(source)) {
      PlanApplier applier = applier(model, format);
      applier.write(out, false, bytes -> {});
    }
  }

  /** Writes a model without its second layer. */
  private static void writeShallower(Path source, OutputFormat format, Path out) {
    try (Checkpoint model = Checkpoint.open(source)) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(0, 1, MergeRule.parse("drop"), NormsPolicy.MERGE);
      new PlanApplier(model, plan, new PlanTensors(NewWeights.NONE), format, warning -> {})
          .write(out, false, bytes -> {});
    }
  }

  /** The layers of the original that stand in the places of the pruned model's. */
  private static final List<Integer> BASES = List.of(0, 2, 5);

  @ParameterizedTest
  @CsvSource({"gemma3_std.q8_0", "mixtral.q8_0", "qwen3_qknorm.q8_0", "internlm2.q8_0"})
  void whatStaysOfAGgufFileKeepsItsBytes(String name) throws IOException {
    Path out = folder.resolve("out.gguf");
    write(gguf(name), new OutputFormat.Gguf(GgufType.F32), out);
    Gguf original = Gguf.read(gguf(name));
    Gguf pruned = Gguf.read(out);
    int depth = depth(pruned);
    assertEquals(depth(original) - 3, depth);
    int copied = 0;
    for (GgufTensor tensor : original.header.tensors()) {
      String suffix = tensor.name().replaceFirst("^blk\\.\\d+\\.", "");
      if (suffix.equals(tensor.name())) {
        assertArrayEquals(original.data(tensor.name()), pruned.data(tensor.name()), suffix);
        copied++;
      }
      for (int i = 1; tensor.name().equals("blk." + base(i) + "." + suffix) && i < depth; i++) {
        String written = "blk." + i + "." + suffix;
        assertEquals(tensor.type(), pruned.tensors().get(written).type(), written);
        assertArrayEquals(original.data(tensor.name()), pruned.data(written), written);
      }
    }
    assertTrue(copied >= 2);
    assertEquals(GgufType.F32, pruned.tensors().get("blk.0.attn_v.weight").type());
    for (String key : original.header.metadata().keys()) {
      if (key.endsWith(".block_count") || key.endsWith(".sliding_window_pattern")) {
        continue;
      }
      assertArrayEquals(
          original.header.metadata().value(key), pruned.header.metadata().value(key), key);
    }
    // Folders of the same plan have the values of the same model.
    Path same = folder.resolve("same");
    write(gguf(name), new OutputFormat.Folder(Long.MAX_VALUE, null), same);
    try (Checkpoint expected = Checkpoint.open(same);
        Checkpoint found = Checkpoint.open(out)) {
      assertEquals(expected.config(), found.config());
      for (String weight : expected.weightNames()) {
        assertSameValues(expected.tensor(weight), found.tensor(weight));
      }
    }
  }

  /** Layer 2 is merged into layer 1, and vLLM would give its successor a window. */
  @Test
  void aGptOssKeepsTheBytesOfItsExpertsAndSaysWhatVllmWouldCompute() throws IOException {
    List<String> warnings = new ArrayList<>();
    Path file = folder.resolve("out.gguf");
    Path same = folder.resolve("same");
    try (Checkpoint model = Checkpoint.open(gguf("gpt_oss.q8_0"))) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(1, 1, MergeRule.parse("mean"), NormsPolicy.MERGE);
      for (OutputFormat format :
          List.of(
              new OutputFormat.Gguf(GgufType.F32), new OutputFormat.Folder(Long.MAX_VALUE, null))) {
        new PlanApplier(model, plan, new PlanTensors(NewWeights.NONE), format, warnings::add)
            .write(format instanceof OutputFormat.Gguf ? file : same, false, bytes -> {});
      }
    }
    Gguf original = Gguf.read(gguf("gpt_oss.q8_0"));
    Gguf pruned = Gguf.read(file);
    for (String expert : List.of("gate", "up", "down")) {
      for (String kind : List.of("weight", "bias")) {
        String name = "ffn_" + expert + "_exps." + kind;
        assertArrayEquals(original.data("blk.3." + name), pruned.data("blk.2." + name), name);
      }
    }
    assertTrue(
        warnings.stream()
            .anyMatch(line -> line.contains("vLLM") && line.contains("alignment of 2")),
        warnings::toString);
    String card = Files.readString(same.resolve("README.md"));
    assertTrue(card.contains("- transformers:") && !card.contains("- vLLM:"), card);
    try (Checkpoint expected = Checkpoint.open(same);
        Checkpoint found = Checkpoint.open(file)) {
      assertEquals(expected.config(), found.config());
      for (String weight : expected.weightNames()) {
        // The rows of down projections are no whole blocks of Q8_0, and F16 in the original's file.
        if (expected.tensor(weight).dtype() == DType.F32) {
          assertSameValues(expected.tensor(weight), found.tensor(weight));
        }
      }
    }
  }

  /** llama.cpp rotates in a file of Baichuan with 32 layers alone. */
  @Test
  void aFileThatWouldBeComputedOtherwiseIsNotWritten() {
    BadInputException refused =
        assertThrows(
            BadInputException.class,
            () ->
                write(
                    gguf("baichuan_rotated.f16"),
                    new OutputFormat.Gguf(GgufType.F32),
                    folder.resolve("out.gguf")));
    assertTrue(refused.getMessage().contains("baichuan with 29 layers"), refused::getMessage);
  }

  /** The same but for what is rounded where a file adds 1 to a norm. */
  private static void assertSameValues(HostTensor expected, HostTensor found) {
    assertEquals(DType.F32, expected.dtype());
    assertEquals(expected.shape(), found.shape());
    for (int i = 0; i < expected.elements(); i++) {
      assertEquals(
          expected.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i),
          found.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i),
          1e-6f,
          expected.name());
    }
  }

  private static int base(int layer) {
    return layer < BASES.size() ? BASES.get(layer) : layer + 3;
  }

  private static int depth(Gguf file) {
    String name = file.header.metadata().string("general.architecture").orElseThrow();
    return (int) file.header.metadata().integer(name + ".block_count").orElseThrow();
  }

  @Test
  void newMatricesOfAQuantisedFileAreEightBitsWide() throws IOException {
    Path out = folder.resolve("out.gguf");
    write(gguf("qwen2_bias.q8_0"), new OutputFormat.Gguf(null), out);
    Map<String, GgufTensor> tensors = Gguf.read(out).tensors();
    assertEquals(GgufType.Q8_0, tensors.get("blk.0.attn_q.weight").type());
    assertEquals(GgufType.F32, tensors.get("blk.0.attn_norm.weight").type());
  }

  /** A file that is made of a folder at once is that which is exported from the pruned folder. */
  @ParameterizedTest
  @ValueSource(strings = {"gemma2_std", "mistral_std", "baichuan2_7b"})
  void aFileOfAFolderIsTheExportOfThePrunedFolder(String fixture) throws IOException {
    Path out = folder.resolve("out.gguf");
    Path pruned = folder.resolve("pruned");
    Path exported = folder.resolve("exported.gguf");
    Path model = Fixtures.model(fixture);
    write(model, new OutputFormat.Gguf(GgufType.Q8_0), out);
    write(model, new OutputFormat.Folder(Long.MAX_VALUE, null), pruned);
    try (Checkpoint checkpoint = Checkpoint.open(pruned)) {
      new GgufExport(checkpoint, GgufType.Q8_0, warning -> {}).write(exported, bytes -> {});
    }
    Gguf expected = Gguf.read(exported);
    Gguf found = Gguf.read(out);
    assertEquals(expected.tensors().keySet(), found.tensors().keySet());
    for (String name : expected.tensors().keySet()) {
      assertArrayEquals(expected.data(name), found.data(name), name);
    }
    assertEquals(expected.header.metadata().keys(), found.header.metadata().keys());
  }

  /** The last tensor of a layer of Gemma 2 is a norm, which may have another type. */
  @Test
  void matricesHaveTheTypeOfTheOriginalsMatrices() throws IOException {
    Path model = folder.resolve("model");
    write(gguf("gemma2_std.q8_0"), new OutputFormat.Folder(100_000, DType.BF16), model);
    String last;
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      last = checkpoint.config().architecture().tensorNames(0, checkpoint.config()).getLast();
    }
    TestCheckpoints.widen(model, last);
    Path out = folder.resolve("out.gguf");
    writeShallower(model, new OutputFormat.Gguf(null), out);
    assertEquals(GgufType.BF16, Gguf.read(out).tensors().get("blk.0.attn_q.weight").type());
  }

  /** A file has numbers in f32, and the factors of a rotation in the place of its parameters. */
  @ParameterizedTest
  @CsvSource({
    "cohere, '\"logit_scale\": [0-9.]+', '\"logit_scale\": 0.8333333333333334'",
    "phi3_long_rope, '\"long_factor\": \\[\\s*[0-9.]+', '\"long_factor\": [1.1000000000000001'"
  })
  void aFileHasNumbersThatItRounds(String name, String is, String other) {
    Path model = folder.resolve("model");
    writeShallower(gguf(name + ".f16"), new OutputFormat.Folder(Long.MAX_VALUE, null), model);
    writesWith(model, is, other);
  }

  @Test
  void aFileHasTheFactorsOfARotation() {
    Path model = TestCheckpoints.copy("llama_tied_rope3", folder.resolve("model"));
    writesWith(model, "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 2.0");
  }

  /** Prunes to a file a model whose config is changed. */
  private void writesWith(Path model, String is, String other) {
    TestCheckpoints.edit(model.resolve("config.json"), text -> text.replaceFirst(is, other));
    Path out = folder.resolve("out.gguf");
    writeShallower(model, new OutputFormat.Gguf(GgufType.F32), out);
    try (Checkpoint original = Checkpoint.open(model);
        Checkpoint written = Checkpoint.open(out)) {
      assertEquals(original.config().numHiddenLayers() - 1, written.config().numHiddenLayers());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"F16", "BF16"})
  void aFolderOfAQuantisedFileHasTheTypeAskedFor(DType dtype) {
    Path out = folder.resolve("out");
    write(gguf("qwen2_bias.q8_0"), new OutputFormat.Folder(Long.MAX_VALUE, dtype), out);
    try (Checkpoint written = Checkpoint.open(out)) {
      written.tensors().forEach(tensor -> assertEquals(dtype, tensor.type().dtype()));
      assertEquals(dtype.torchName(), written.configJson().get("torch_dtype").textValue());
    }
  }

  @Test
  void aWriteThatIsGivenUpOrFailsLeavesNothing() {
    Path out = folder.resolve("out.gguf");
    try (Checkpoint model = Checkpoint.open(gguf("qwen2_bias.q8_0"))) {
      PlanApplier applier = applier(model, new OutputFormat.Gguf(null));
      assertThrows(
          CancelledException.class, () -> applier.write(out, false, bytes -> applier.giveUp()));
      assertEquals(List.of(), TestFiles.names(folder));
      PlanApplier other = applier(model, new OutputFormat.Gguf(null));
      assertThrows(
          IllegalStateException.class,
          () ->
              other.write(
                  out,
                  false,
                  bytes -> {},
                  () -> {
                    throw new IllegalStateException();
                  }));
      assertEquals(List.of(), TestFiles.names(folder));
    }
  }

  @Test
  void aFileIsReplacedOnlyWhereItMayBe() throws IOException {
    Path out = Files.writeString(folder.resolve("out.gguf"), "mine");
    try (Checkpoint model = Checkpoint.open(gguf("qwen2_bias.q8_0"))) {
      PlanApplier applier = applier(model, new OutputFormat.Gguf(null));
      for (boolean overwrite : new boolean[] {false, true}) {
        UsageException refused =
            assertThrows(UsageException.class, () -> applier.write(out, overwrite, bytes -> {}));
        assertTrue(refused.getMessage().contains("overwrite"), refused::getMessage);
        assertEquals("mine", Files.readString(out));
      }
      Files.writeString(out, "");
      applier.write(out, true, bytes -> {});
      Files.copy(gguf("gemma2_std.q8_0"), out, StandardCopyOption.REPLACE_EXISTING);
      applier.write(out, true, bytes -> {});
    }
    try (Checkpoint written = Checkpoint.open(out)) {
      assertEquals(5, written.config().numHiddenLayers());
    }
    assertEquals(List.of("out.gguf"), TestFiles.names(folder));
  }

  /** llama.cpp takes every fourth layer of SmolLM3 for one without rotation. */
  @Test
  void whatLlamaCppWouldComputeOtherwiseIsRefused() {
    try (Checkpoint model = Checkpoint.open(gguf("smollm3_std.q8_0"))) {
      BadInputException refused =
          assertThrows(BadInputException.class, () -> applier(model, new OutputFormat.Gguf(null)));
      assertTrue(refused.getMessage().contains("rotary embedding"), refused::getMessage);
    }
    assertThrows(
        UsageException.class,
        () -> OutputFormat.of(folder.resolve("out"), Long.MAX_VALUE, GgufType.Q8_0));
  }
}
