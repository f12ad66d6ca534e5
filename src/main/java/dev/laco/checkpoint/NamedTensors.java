package dev.laco.checkpoint;

import dev.laco.BadInputException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * Chosen tensors of one safetensors file, or of the shards that an index names. Only shards that
 * hold a chosen tensor are opened.
 */
public final class NamedTensors implements AutoCloseable {
  private static final String INDEX = ".index.json";

  private final List<WeightFile> files = new ArrayList<>();
  private final Map<String, WeightFile> fileOf = new TreeMap<>();

  private NamedTensors() {}

  /**
   * Opens the files.
   *
   * @param container a safetensors file, or an index ({@code *.index.json})
   * @param names the chosen tensors
   * @throws BadInputException if a file is missing or broken, or a chosen tensor is in none
   */
  public static NamedTensors open(Path container, Collection<String> names) {
    NamedTensors tensors = new NamedTensors();
    try {
      Map<String, Path> index =
          container.toString().endsWith(INDEX)
              ? WeightFiles.readIndex(container.resolveSibling(""), container)
              : Map.of();
      Map<Path, WeightFile> opened = new TreeMap<>();
      for (String name : names) {
        Path path = index.isEmpty() ? container : index.get(name);
        if (path == null) {
          throw new BadInputException(
              String.format(Locale.ROOT, "%s: tensor '%s' is missing", container, name));
        }
        WeightFile file = opened.get(path);
        if (file == null) {
          file = WeightFile.open(path);
          tensors.files.add(file);
          opened.put(path, file);
        }
        file.info(name);
        tensors.fileOf.put(name, file);
      }
      return tensors;
    } catch (RuntimeException e) {
      tensors.close();
      throw e;
    }
  }

  /** The file that holds a tensor. */
  public WeightFile file(String name) {
    WeightFile file = fileOf.get(name);
    if (file == null) {
      throw new IllegalArgumentException("not asked for: " + name);
    }
    return file;
  }

  @Override
  public void close() {
    files.forEach(WeightFile::close);
  }
}
