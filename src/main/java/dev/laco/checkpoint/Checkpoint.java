package dev.laco.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * A Hugging Face checkpoint: a folder with {@code config.json} and safetensors weights, in one file
 * or in shards, mapped and never copied to the heap. Symbolic links are followed (the layout of
 * Hugging Face's cache).
 */
public final class Checkpoint implements TensorSource, AutoCloseable {
  private final Path directory;
  private final JsonNode configJson;
  private final List<SafetensorsFile> files;
  private final Map<String, SafetensorsFile> fileOf;

  private Checkpoint(
      Path directory,
      JsonNode configJson,
      List<SafetensorsFile> files,
      Map<String, SafetensorsFile> fileOf) {
    this.directory = directory;
    this.configJson = configJson;
    this.files = files;
    this.fileOf = fileOf;
  }

  /**
   * Opens a checkpoint and checks its files: config, index, and every shard's tensor table.
   *
   * @throws BadInputException naming the file and what is wrong with it
   */
  public static Checkpoint open(Path directory) {
    if (!Files.isDirectory(directory)) {
      throw new BadInputException(
          directory
              + ": is no folder; expected a Hugging Face checkpoint (config.json and weights)");
    }
    JsonNode config = InputFiles.readJsonObject(directory.resolve("config.json"));
    WeightFiles weights = WeightFiles.find(directory);
    List<SafetensorsFile> files = new ArrayList<>();
    try {
      Map<String, SafetensorsFile> fileOf = new TreeMap<>();
      for (Path shard : weights.shards()) {
        SafetensorsFile file = SafetensorsFile.open(shard);
        files.add(file);
        addTensors(file, fileOf);
      }
      checkIndex(directory.resolve(WeightFiles.INDEX), weights.index(), fileOf);
      return new Checkpoint(directory, config, List.copyOf(files), fileOf);
    } catch (RuntimeException e) {
      files.forEach(SafetensorsFile::close);
      throw e;
    }
  }

  private static void addTensors(SafetensorsFile file, Map<String, SafetensorsFile> fileOf) {
    for (TensorInfo tensor : file.tensors()) {
      SafetensorsFile other = fileOf.put(tensor.name(), file);
      if (other != null) {
        throw new BadInputException(
            "%s: tensor '%s' is also in %s"
                .formatted(file.path(), tensor.name(), other.path().getFileName()));
      }
    }
  }

  /**
   * Every entry of the index lies where it says, and every tensor of the shards is in the index.
   */
  private static void checkIndex(
      Path indexFile, Map<String, Path> index, Map<String, SafetensorsFile> fileOf) {
    if (index.isEmpty()) {
      return;
    }
    index.forEach(
        (name, path) -> {
          SafetensorsFile file = fileOf.get(name);
          if (file == null) {
            throw new BadInputException(
                "%s: tensor '%s' is not in %s".formatted(indexFile, name, path.getFileName()));
          }
          if (!file.path().equals(path)) {
            throw new BadInputException(
                "%s: tensor '%s' should be in %s but is in %s"
                    .formatted(indexFile, name, path.getFileName(), file.path().getFileName()));
          }
        });
    fileOf.forEach(
        (name, file) -> {
          if (!index.containsKey(name)) {
            throw new BadInputException(
                "%s: tensor '%s' of %s is not in the index"
                    .formatted(indexFile, name, file.path().getFileName()));
          }
        });
  }

  /** The folder, as it was given. */
  public Path directory() {
    return directory;
  }

  /** {@code config.json}: an object, numbers with all their digits. */
  public JsonNode configJson() {
    return configJson;
  }

  /** The files that hold the weights. */
  public List<SafetensorsFile> files() {
    return files;
  }

  /** Rows of all tensor tables, in the order of files and bytes. */
  public List<TensorInfo> tensors() {
    return files.stream().map(SafetensorsFile::tensors).flatMap(Collection::stream).toList();
  }

  /** Bytes of all tensors. */
  public long totalBytes() {
    return tensors().stream().mapToLong(TensorInfo::byteSize).sum();
  }

  @Override
  public boolean contains(String name) {
    return fileOf.containsKey(name);
  }

  @Override
  public HostTensor tensor(String name) {
    return file(name).tensor(name);
  }

  /** The file that holds a tensor. */
  public SafetensorsFile file(String name) {
    SafetensorsFile file = fileOf.get(name);
    if (file == null) {
      throw new BadInputException("%s: tensor '%s' is missing".formatted(directory, name));
    }
    return file;
  }

  @Override
  public void close() {
    files.forEach(SafetensorsFile::close);
  }
}
