package dev.laco.checkpoint;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Fixtures;
import dev.laco.TestFiles;
import dev.laco.inspect.ModelInspection;
import dev.laco.model.Architecture;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A checkpoint of 30 GB in 400 files, whose weights are holes in the files. */
class LargeCheckpointTest {
  private static final JsonMapper JSON = new JsonMapper();
  private static final int SHARDS = 400;

  private static final String CONFIG =
      """
      {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
       "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
       "num_hidden_layers": 68, "vocab_size": 32000, "torch_dtype": "bfloat16"}
      """;

  @TempDir Path folder;

  @Test
  void isInspectedWithoutReadingItsWeights() throws IOException {
    Map<String, List<Long>> tensors = tensors();
    write(tensors);
    ModelInspection.of(Fixtures.model("llama_untied_gqa")); // loads the classes
    long before = bytesRead();
    ModelInspection model = ModelInspection.of(folder);
    long read = bytesRead() - before;
    assertTrue(model.isSupported(), () -> String.valueOf(model.whyNot()));
    assertEquals(SHARDS, model.files());
    assertTrue(model.bytes() > 30_000_000_000L, () -> model.bytes() + " bytes");
    long headers = 0;
    for (String name : TestFiles.names(folder)) {
      headers += headerBytes(folder.resolve(name));
    }
    long most = 2 * headers;
    assertTrue(
        read < most, () -> read + " bytes were read, twice the headers and the index are " + most);
    try (Checkpoint checkpoint = Checkpoint.open(folder)) {
      checkpoint.digest();
      long resident = ResidentPages.bytes(folder.resolve(name(SHARDS / 2)));
      assertTrue(resident <= 16_384, () -> resident + " bytes of a shard are in memory");
    }
  }

  private static Map<String, List<Long>> tensors() {
    ModelConfig config = ModelConfig.parse("config.json", read(CONFIG));
    Architecture family = config.architecture();
    Map<String, List<Long>> tensors = new TreeMap<>();
    List<Long> vocabulary = List.of((long) config.vocabSize(), (long) config.hiddenSize());
    tensors.put(family.embedding(), vocabulary);
    tensors.put(family.head(), vocabulary);
    tensors.put(family.finalNorm(), List.of((long) config.hiddenSize()));
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      for (TensorSpec tensor : family.layerTensors(config)) {
        tensors.put(family.tensorName(layer, tensor), tensor.shape());
      }
    }
    return tensors;
  }

  private static ObjectNode read(String json) {
    try {
      return (ObjectNode) JSON.readTree(json);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private void write(Map<String, List<Long>> tensors) throws IOException {
    Files.writeString(folder.resolve("config.json"), CONFIG);
    List<ObjectNode> headers = new ArrayList<>();
    long[] ends = new long[SHARDS];
    for (int i = 0; i < SHARDS; i++) {
      headers.add(JSON.createObjectNode());
    }
    ObjectNode index = JSON.createObjectNode();
    ObjectNode shardOf = index.putObject("weight_map");
    int next = 0;
    for (Map.Entry<String, List<Long>> tensor : tensors.entrySet()) {
      int shard = next++ % SHARDS;
      ObjectNode entry = headers.get(shard).putObject(tensor.getKey()).put("dtype", "BF16");
      tensor.getValue().forEach(entry.putArray("shape")::add);
      long bytes = 2 * tensor.getValue().stream().reduce(1L, Math::multiplyExact);
      entry.putArray("data_offsets").add(ends[shard]).add(ends[shard] + bytes);
      ends[shard] += bytes;
      shardOf.put(tensor.getKey(), name(shard));
    }
    for (int i = 0; i < SHARDS; i++) {
      byte[] header = headers.get(i).toString().getBytes(UTF_8);
      ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
      try (RandomAccessFile file = new RandomAccessFile(folder.resolve(name(i)).toFile(), "rw")) {
        file.write(length.putLong(header.length).array());
        file.write(header);
        file.setLength(8 + header.length + ends[i]);
      }
    }
    Files.writeString(folder.resolve("model.safetensors.index.json"), index.toString());
  }

  private static String name(int shard) {
    return String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", shard + 1, SHARDS);
  }

  private static long headerBytes(Path file) throws IOException {
    if (!file.toString().endsWith(".safetensors")) {
      return Files.size(file);
    }
    try (RandomAccessFile shard = new RandomAccessFile(file.toFile(), "r")) {
      return 8 + Long.reverseBytes(shard.readLong());
    }
  }

  /** Bytes that this process has read from files by system calls. */
  private static long bytesRead() throws IOException {
    return Files.readAllLines(Path.of("/proc/self/io")).stream()
        .filter(line -> line.startsWith("rchar: "))
        .mapToLong(line -> Long.parseLong(line.substring("rchar: ".length())))
        .findFirst()
        .orElseThrow();
  }
}
