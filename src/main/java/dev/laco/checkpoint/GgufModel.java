package dev.laco.checkpoint;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.gguf.GgufTensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/** A GGUF file as a checkpoint: its tensors, and its metadata as a config. */
final class GgufModel implements WeightFile.TableReader {
  private static final String ARCHITECTURE = "general.architecture";

  private @Nullable GgufMetadata metadata;

  /** Whether a path leads to a file that begins as GGUF files do, whatever its name. */
  static boolean is(Path path) {
    if (!Files.isRegularFile(path)) {
      return false;
    }
    ByteBuffer magic = ByteBuffer.allocate(Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    try (FileChannel channel = InputFile.open(path)) {
      channel.read(magic);
    } catch (IOException e) {
      throw InputFile.unreadable(path, e);
    }
    return !magic.hasRemaining() && magic.getInt(0) == GgufHeader.MAGIC;
  }

  @Override
  public Map<String, TensorInfo> read(Path file, MemorySegment bytes) {
    GgufHeader header = GgufHeader.read(file, bytes, WeightFile.MAX_TENSORS);
    metadata = header.metadata();
    Map<String, TensorInfo> table = LinkedHashMap.newLinkedHashMap(header.tensors().size());
    for (GgufTensor tensor : header.tensors()) {
      table.put(
          tensor.name(),
          new TensorInfo(
              tensor.name(), tensor.type(), tensor.shape(), tensor.offset(), tensor.byteSize()));
    }
    return table;
  }

  private GgufMetadata metadata() {
    return Objects.requireNonNull(metadata, "the file was not read yet");
  }

  /**
   * The metadata as a config of Hugging Face.
   *
   * @throws BadInputException if a value that the config needs is missing or wrong
   */
  ObjectNode config() {
    String architecture = metadata().string(ARCHITECTURE).orElse("unknown");
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add(architecture);
    config.put("model_type", architecture);
    metadata()
        .integer(architecture + ".block_count")
        .ifPresent(count -> config.put("num_hidden_layers", count));
    return config;
  }

  /** The metadata for people, in the order of the file. */
  SequencedMap<String, String> shown() {
    SequencedMap<String, String> shown = new LinkedHashMap<>();
    metadata().keys().forEach(key -> shown.put(key, metadata().show(key)));
    return shown;
  }
}
