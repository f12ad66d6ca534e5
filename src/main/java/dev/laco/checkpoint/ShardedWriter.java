package dev.laco.checkpoint;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.ResourceException;
import dev.laco.model.HuggingFaceJson;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;
import java.util.function.LongConsumer;

/**
 * Writes the weights of a checkpoint under Hugging Face's names: one {@code model.safetensors}, or
 * shards and an index. Tensors fill the shards in the order given; a shard is closed when the next
 * tensor would make its file larger than the limit, so that only the file of a single tensor can be
 * larger than the limit.
 */
public final class ShardedWriter {
  private final SequencedMap<String, SafetensorsWriter> files = new LinkedHashMap<>();
  private final byte[] index;

  /**
   * Lays out the files.
   *
   * @param maxShardSize most bytes of one file
   */
  public ShardedWriter(List<OutputTensor> tensors, long maxShardSize) {
    List<List<OutputTensor>> shards = split(tensors, maxShardSize);
    TreeMap<String, String> weightMap = new TreeMap<>();
    for (int i = 0; i < shards.size(); i++) {
      String name =
          shards.size() == 1
              ? Container.SAFETENSORS.single()
              : String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", i + 1, shards.size());
      shards.get(i).forEach(tensor -> weightMap.put(tensor.name(), name));
      files.put(name, new SafetensorsWriter(shards.get(i)));
    }
    long totalSize = tensors.stream().mapToLong(OutputTensor::byteSize).sum();
    index = shards.size() > 1 ? index(totalSize, weightMap) : new byte[0];
  }

  private static List<List<OutputTensor>> split(List<OutputTensor> tensors, long maxShardSize) {
    List<List<OutputTensor>> shards = new ArrayList<>(List.of(new ArrayList<>()));
    long size = SafetensorsWriter.mostOverhead();
    for (OutputTensor tensor : tensors) {
      long added = SafetensorsWriter.mostBytes(tensor);
      if (size + added > maxShardSize && !shards.getLast().isEmpty()) {
        shards.add(new ArrayList<>());
        size = SafetensorsWriter.mostOverhead();
      }
      shards.getLast().add(tensor);
      size += added;
    }
    return shards;
  }

  private static byte[] index(long totalSize, Map<String, String> weightMap) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.putObject("metadata").put("total_size", totalSize);
    ObjectNode map = json.putObject("weight_map");
    weightMap.forEach(map::put);
    return HuggingFaceJson.write(json).getBytes(UTF_8);
  }

  /** The name of the file by which every tensor is found: the only weight file, or the index. */
  public String container() {
    return index.length > 0 ? Container.SAFETENSORS.index() : Container.SAFETENSORS.single();
  }

  /** Bytes of all files. */
  public long totalFileSize() {
    return index.length + files.values().stream().mapToLong(SafetensorsWriter::fileSize).sum();
  }

  /**
   * Writes the files into a folder that holds none of their names, and forces them to the disk.
   *
   * @param progress told after each tensor how many bytes it had
   * @throws ResourceException if the disk is full or cannot be written
   */
  public void write(Path folder, LongConsumer progress) {
    files.forEach((name, file) -> file.write(folder.resolve(name), progress));
    if (index.length > 0) {
      OutputFiles.write(folder.resolve(Container.SAFETENSORS.index()), index);
    }
  }
}
