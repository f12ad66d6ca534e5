package dev.laco.checkpoint;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
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

/** Checkpoints of any size in bf16, whose weights are holes in their files. */
public final class SparseCheckpoint {
  private static final JsonMapper JSON = new JsonMapper();

  private SparseCheckpoint() {}

  /** Writes the checkpoint of a config, in so many files. */
  public static void write(Path folder, String config, int shards) throws IOException {
    Files.writeString(folder.resolve("config.json"), config);
    List<ObjectNode> headers = new ArrayList<>();
    long[] ends = new long[shards];
    for (int i = 0; i < shards; i++) {
      headers.add(JSON.createObjectNode());
    }
    ObjectNode index = JSON.createObjectNode();
    ObjectNode shardOf = index.putObject("weight_map");
    int next = 0;
    for (Map.Entry<String, List<Long>> tensor :
        tensors(ModelConfig.parse("config.json", JSON.readTree(config))).entrySet()) {
      int shard = next++ % shards;
      ObjectNode entry = headers.get(shard).putObject(tensor.getKey()).put("dtype", "BF16");
      tensor.getValue().forEach(entry.putArray("shape")::add);
      long bytes = 2 * tensor.getValue().stream().reduce(1L, Math::multiplyExact);
      entry.putArray("data_offsets").add(ends[shard]).add(ends[shard] + bytes);
      ends[shard] += bytes;
      shardOf.put(tensor.getKey(), shard(shard, shards));
    }
    for (int i = 0; i < shards; i++) {
      byte[] header = headers.get(i).toString().getBytes(UTF_8);
      ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
      Path path = folder.resolve(shard(i, shards));
      try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
        file.write(length.putLong(header.length).array());
        file.write(header);
        file.setLength(8 + header.length + ends[i]);
      }
    }
    Files.writeString(folder.resolve("model.safetensors.index.json"), index.toString());
  }

  /** The name of a file of the checkpoint, which are numbered from 0 here. */
  static String shard(int number, int shards) {
    return String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", number + 1, shards);
  }

  private static Map<String, List<Long>> tensors(ModelConfig config) {
    Architecture family = config.architecture();
    Map<String, List<Long>> tensors = new TreeMap<>();
    List<Long> vocabulary = List.of((long) config.vocabSize(), (long) config.hiddenSize());
    tensors.put(family.embedding(), vocabulary);
    tensors.put(family.head(), vocabulary);
    family
        .finalNormTensors()
        .forEach(norm -> tensors.put(norm, List.of((long) config.hiddenSize())));
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      for (TensorSpec tensor : family.layerTensors(config, layer)) {
        tensors.put(family.tensorName(layer, tensor), tensor.shape());
      }
    }
    return tensors;
  }
}
