package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.gguf.GgufTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** GGUF files of models some of whose layers have linear attention. */
final class GgufLinearAttentionTest {
  private static final int KEY_HEADS = 2;
  private static final int VALUE_HEADS = 6;
  private static final int WIDTH = 4;

  private static final String FULL = "full_attention";
  private static final String LINEAR = "linear_attention";

  @TempDir Path folder;

  /** The config of a small model whose layers have this attention. */
  private static String config(String className, String modelType, String... types) {
    return String.format(
        Locale.ROOT,
        """
        {"architectures": ["%s"], "model_type": "%s", "hidden_size": 32, "intermediate_size": 48,
         "num_hidden_layers": %d, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
         "vocab_size": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "bos_token_id": 1,
         "linear_num_key_heads": %d, "linear_num_value_heads": %d, "linear_key_head_dim": %d,
         "linear_value_head_dim": %d, "num_experts": 3, "num_experts_per_tok": 2,
         "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24,
         "max_position_embeddings": 64, "layer_types": ["%s"]}
        """,
        className,
        modelType,
        types.length,
        KEY_HEADS,
        VALUE_HEADS,
        WIDTH,
        WIDTH,
        String.join("\", \"", types));
  }

  private static String dense(String... types) {
    return config("Qwen3_5ForCausalLM", "qwen3_5_text", types);
  }

  /** Writes a model whose weights are multiples of 1/64 between -1 and 1. */
  private Path model(String config) throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    SparseCheckpoint.write(model, config, 1);
    Random random = new Random(3);
    try (RandomAccessFile file =
        new RandomAccessFile(model.resolve(SparseCheckpoint.shard(0, 1)).toFile(), "rw")) {
      long header = Long.reverseBytes(file.readLong());
      ByteBuffer values =
          ByteBuffer.allocate((int) (file.length() - 8 - header)).order(ByteOrder.LITTLE_ENDIAN);
      while (values.hasRemaining()) {
        values.putShort((short) (Float.floatToRawIntBits((random.nextInt(127) - 63) / 64f) >> 16));
      }
      file.seek(8 + header);
      file.write(values.array());
    }
    return model;
  }

  private Path export(Path model) {
    Path file = folder.resolve("out.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      new GgufExport(checkpoint, GgufType.F32, warning -> {}).write(file, bytes -> {});
    }
    return file;
  }

  private static float value(HostTensor tensor, int at) {
    return tensor.dtype() == DType.F32
        ? tensor.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, at)
        : DType.bf16ToFloat(tensor.data().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, at));
  }

  private static float[] values(Path file, String name) throws IOException {
    MemorySegment bytes = MemorySegment.ofArray(Files.readAllBytes(file));
    for (GgufTensor tensor : GgufHeader.read(file, bytes, 10_000).tensors()) {
      if (tensor.name().equals(name)) {
        return bytes
            .asSlice(tensor.offset(), tensor.byteSize())
            .toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
      }
    }
    throw new AssertionError(name);
  }

  private static GgufMetadata metadata(Path file) throws IOException {
    return GgufHeader.read(file, MemorySegment.ofArray(Files.readAllBytes(file)), 10_000)
        .metadata();
  }

  @ParameterizedTest
  @CsvSource({
    "Qwen3_5ForCausalLM, qwen3_5_text",
    "Qwen3_5MoeForCausalLM, qwen3_5_moe_text",
    "Qwen3NextForCausalLM, qwen3_next"
  })
  void aWrittenFileIsTheModel(String className, String modelType) throws IOException {
    Path model = model(config(className, modelType, LINEAR, FULL, LINEAR, LINEAR));
    try (Checkpoint original = Checkpoint.open(model);
        Checkpoint written = Checkpoint.open(export(model))) {
      written.requireSupported();
      assertEquals(original.config().attention(), written.config().attention());
      assertEquals(original.config().linearAttention(), written.config().linearAttention());
      assertEquals(original.config().mixture(), written.config().mixture());
      assertEquals(original.weightNames(), written.weightNames());
      for (String name : original.weightNames()) {
        HostTensor expected = original.tensor(name);
        HostTensor found = written.tensor(name);
        assertEquals(expected.shape(), found.shape(), name);
        // Of A_log a file has the exponential.
        float rounded = name.endsWith("A_log") ? 1e-6f : 0;
        for (int i = 0; i < expected.elements(); i++) {
          assertEquals(value(expected, i), value(found, i), rounded, name + " " + i);
        }
      }
    }
  }

  /** The first heads of values of all key heads stand before the second ones. */
  @Test
  void headsOfValuesOfQwen35AreTiled() throws IOException {
    Path model = model(dense(LINEAR, FULL));
    Path file = export(model);
    int values = VALUE_HEADS * WIDTH;
    try (Checkpoint original = Checkpoint.open(model)) {
      HostTensor logDecay = original.tensor("model.layers.0.linear_attn.A_log");
      HostTensor output = original.tensor("model.layers.0.linear_attn.out_proj.weight");
      HostTensor convolution = original.tensor("model.layers.0.linear_attn.conv1d.weight");
      float[] decays = values(file, "blk.0.ssm_a");
      float[] columns = values(file, "blk.0.ssm_out.weight");
      float[] kernels = values(file, "blk.0.ssm_conv1d.weight");
      for (int head = 0; head < VALUE_HEADS; head++) {
        int of = head % KEY_HEADS * (VALUE_HEADS / KEY_HEADS) + head / KEY_HEADS;
        assertEquals(-Math.exp(value(logDecay, of)), decays[head], 1e-6);
        for (int i = 0; i < WIDTH; i++) {
          assertEquals(value(output, values + of * WIDTH + i), columns[values + head * WIDTH + i]);
          int behind = 2 * KEY_HEADS * WIDTH;
          assertEquals(
              value(convolution, (behind + of * WIDTH + i) * 4 + 3),
              kernels[(behind + head * WIDTH + i) * 4 + 3]);
        }
      }
      assertEquals(value(convolution, 5), kernels[5]);
    }
  }

  /** Older programs know the number alone, so that it is written where it says enough. */
  @Test
  void aRegularModelNamesItsIntervalAndAnotherEachLayer() throws IOException {
    GgufMetadata regular = metadata(export(model(dense(LINEAR, FULL, LINEAR, FULL, LINEAR))));
    assertEquals(2, regular.integer("qwen35.full_attention_interval").orElseThrow());
    assertFalse(regular.has("qwen35.attention.recurrent_layers"));
    assertEquals(List.of(11, 11, 10, 0), regular.integers("qwen35.rope.dimension_sections"));
  }

  @Test
  void aFileWithoutALayerNamesTheAttentionOfTheOthers() throws IOException {
    Path file = export(model(dense(LINEAR, FULL, LINEAR, FULL, LINEAR)));
    Path pruned = folder.resolve("pruned.gguf");
    try (Checkpoint model = Checkpoint.open(file)) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(1, 1, MergeRule.parse("drop"), NormsPolicy.MERGE);
      new PlanApplier(
              model,
              plan,
              new PlanTensors(NewWeights.NONE),
              new OutputFormat.Gguf(null),
              warning -> {})
          .write(pruned, false, bytes -> {});
    }
    assertEquals(
        List.of(true, false, false, true),
        metadata(pruned).bools("qwen35.attention.recurrent_layers"));
    try (Checkpoint written = Checkpoint.open(pruned)) {
      assertFalse(written.config().attention().get(2).linear());
      assertTrue(written.config().attention().get(3).linear());
    }
  }

  @ParameterizedTest
  @CsvSource({
    "'\"linear_value_head_dim\": 4', '\"linear_value_head_dim\": 5', differ in width",
    "'\"rms_norm_eps\": 1e-6', '\"rms_norm_eps\": 1e-5', epsilon",
    "'\"head_dim\": 8,', '\"head_dim\": 8, \"attention_bias\": true,', bias",
    "'\"head_dim\": 8,', '\"head_dim\": 32, \"rope_parameters\": {\"mrope_section\": [1, 1, 2]},', mrope_section"
  })
  void whatLlamaCppComputesOtherwiseIsRefused(String is, String other, String named)
      throws IOException {
    Path model = model(dense(LINEAR, FULL).replace(is, other));
    BadInputException refused = assertThrows(BadInputException.class, () -> export(model));
    assertTrue(refused.getMessage().contains(named), refused::getMessage);
  }
}
