package dev.laco.checkpoint;

import dev.laco.checkpoint.table.TableReader;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.checkpoint.torch.TorchArchive;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;

/**
 * The file formats of weights in folders of Hugging Face's layout. Of a folder that holds several,
 * the first in the order of this enum is read, as by Hugging Face's loader.
 */
enum Container implements TableReader {
  /** Names, types, shapes and offsets as JSON; see {@link SafetensorsHeader}. */
  SAFETENSORS("model", ".safetensors"),
  /** What {@code torch.save} writes: a zip archive with a pickle; see {@link TorchArchive}. */
  TORCH("pytorch_model", ".bin");

  private final String stem;
  private final String suffix;

  Container(String stem, String suffix) {
    this.stem = stem;
    this.suffix = suffix;
  }

  /** The container of a file, by the end of its name; safetensors where the name says nothing. */
  static Container of(Path file) {
    return Arrays.stream(values())
        .filter(container -> file.toString().endsWith(container.suffix))
        .findFirst()
        .orElse(SAFETENSORS);
  }

  /** The name of the file of a model that is not sharded. */
  String single() {
    return stem + suffix;
  }

  /** The name of the file that says in which shard each tensor is. */
  String index() {
    return single() + ".index.json";
  }

  /** How the names of weight files end, with the dot. */
  String suffix() {
    return suffix;
  }

  @Override
  public Map<String, TensorInfo> read(Path file, MemorySegment bytes) {
    return switch (this) {
      case SAFETENSORS -> SafetensorsHeader.read(file, bytes);
      case TORCH -> TorchArchive.read(file, bytes);
    };
  }
}
