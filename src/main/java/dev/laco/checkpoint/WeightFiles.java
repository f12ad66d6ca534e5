package dev.laco.checkpoint;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.InputJson;
import dev.laco.Legible;
import dev.laco.checkpoint.table.TableLimits;
import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The files of a folder that hold the weights. For each {@link Container} in its order they are
 * looked for as Hugging Face's loader does: a single file, then an index and its shards; last,
 * shards whose names say how many there are.
 *
 * @param shards the weight files, in the order of their names
 * @param index the shard of each tensor, as the index file says; empty where there is no index
 * @param indexFile the path of the index file, which need not exist
 */
record WeightFiles(List<Path> shards, Map<String, Path> index, Path indexFile) {

  /** Most bytes of an index; those of the largest mixtures of experts have about 20 MB. */
  private static final long MAX_INDEX = 64 << 20;

  /** Most shards; published checkpoints have up to a few hundred. */
  private static final int MAX_SHARDS = 10_000;

  private static final JsonFactory JSON =
      JsonFactory.builder()
          // Each name is read once: a table of names would only cost memory.
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .build();

  /** Most characters of a shard's name: Linux has no longer paths. */
  private static final int MAX_FILE_NAME = 4096;

  private static final Pattern SHARD = Pattern.compile("(.+)-(\\d{5})-of-(\\d{5})(\\.[a-z]{1,20})");
  private static final Pattern OTHER_WEIGHTS =
      Pattern.compile(".*\\.(bin|pt|pth|gguf|onnx|h5|msgpack|safetensors)");

  /**
   * Finds the weights of a folder. Files that an index names are not opened.
   *
   * @throws BadInputException if there are none that we read, or an index or a shard name is wrong
   */
  static WeightFiles find(Path directory) {
    for (Container container : Container.values()) {
      Path indexFile = directory.resolve(container.index());
      Path single = directory.resolve(container.single());
      if (InputFile.isThere(single)) {
        return new WeightFiles(List.of(single), Map.of(), indexFile);
      }
      if (InputFile.isThere(indexFile)) {
        Map<String, Path> index = readIndex(directory, indexFile);
        return new WeightFiles(List.copyOf(new TreeSet<>(index.values())), index, indexFile);
      }
      List<Path> shards = numberedShards(directory, container);
      if (!shards.isEmpty()) {
        return new WeightFiles(shards, Map.of(), indexFile);
      }
    }
    throw noWeights(directory);
  }

  /**
   * Reads an index as a stream: the index of a large mixture of experts has more than ten
   * megabytes.
   */
  static Map<String, Path> readIndex(Path directory, Path index) {
    Map<String, Path> files = new LinkedHashMap<>();
    try (FileChannel channel = InputFile.open(index);
        JsonParser json = JSON.createParser(Channels.newInputStream(channel))) {
      if (channel.size() > MAX_INDEX) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: is %d bytes long; of an index at most %d are read",
                index,
                channel.size(),
                MAX_INDEX));
      }
      if (json.nextToken() != JsonToken.START_OBJECT) {
        throw new BadInputException(index + ": is not a JSON object");
      }
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        boolean weightMap = json.currentName().equals("weight_map");
        json.nextToken();
        if (weightMap && !files.isEmpty()) {
          throw new BadInputException(index + ": has weight_map twice");
        }
        if (weightMap && json.hasToken(JsonToken.START_OBJECT)) {
          readWeightMap(directory, index, json, files);
        } else {
          json.skipChildren();
        }
      }
    } catch (JacksonException e) {
      throw InputJson.error(index.toString(), e);
    } catch (IOException e) {
      throw InputFile.unreadable(index, e);
    }
    if (files.isEmpty()) {
      throw new BadInputException(index + ": weight_map is not an object with entries");
    }
    return files;
  }

  private static void readWeightMap(
      Path directory, Path index, JsonParser json, Map<String, Path> files) throws IOException {
    Map<String, Path> known = new HashMap<>();
    while (json.nextToken() == JsonToken.FIELD_NAME) {
      String tensor = json.currentName();
      if (tensor.length() > TableLimits.MAX_NAME) {
        throw bad(index, tensor, TableLimits.longName(tensor));
      }
      if (json.nextToken() != JsonToken.VALUE_STRING) {
        throw bad(index, tensor, "is not a file name");
      }
      if (files.size() == TableLimits.MAX_TENSORS) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: weight_map has more than %d entries",
                index,
                TableLimits.MAX_TENSORS));
      }
      Path shard = known.computeIfAbsent(json.getText(), n -> inside(directory, index, tensor, n));
      if (known.size() > MAX_SHARDS) {
        throw new BadInputException(
            String.format(
                Locale.ROOT, "%s: weight_map names more than %d files", index, MAX_SHARDS));
      }
      if (files.put(tensor, shard) != null) {
        throw bad(index, tensor, "is there twice");
      }
    }
  }

  /**
   * The path of a shard that an index names. Refuses a name that is absolute or leaves the folder;
   * a symbolic link in the folder may lead anywhere.
   */
  private static Path inside(Path directory, Path index, String tensor, String name) {
    if (name.length() > MAX_FILE_NAME) {
      throw bad(
          index,
          tensor,
          String.format(Locale.ROOT, "names a file by %d characters", name.length()));
    }
    Path relative;
    try {
      relative = Path.of(name).normalize();
    } catch (InvalidPathException e) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: weight_map entry '%s' names no valid file",
              index,
              Legible.excerpt(tensor)),
          e);
    }
    if (name.isEmpty() || relative.isAbsolute() || relative.startsWith("..")) {
      throw bad(
          index,
          tensor,
          String.format(
              Locale.ROOT,
              "names '%s', which is not inside the model's folder",
              Legible.excerpt(name)));
    }
    return directory.resolve(relative);
  }

  private static BadInputException bad(Path index, String tensor, String problem) {
    return new BadInputException(
        String.format(
            Locale.ROOT, "%s: weight_map entry '%s' %s", index, Legible.excerpt(tensor), problem));
  }

  /** The files of a folder whose names count them; empty if there are none. */
  private static List<Path> numberedShards(Path directory, Container container) {
    TreeMap<String, Matcher> shards = new TreeMap<>();
    for (String name : fileNames(directory)) {
      Matcher shard = SHARD.matcher(name);
      if (shard.matches() && shard.group(4).equals(container.suffix())) {
        shards.put(name, shard);
      }
    }
    if (shards.isEmpty()) {
      return List.of();
    }
    Matcher first = shards.firstEntry().getValue();
    int count = Integer.parseInt(first.group(3));
    for (int i = 1; i <= count; i++) {
      String name =
          String.format(
              Locale.ROOT, "%s-%05d-of-%05d%s", first.group(1), i, count, container.suffix());
      if (!shards.containsKey(name)) {
        throw new BadInputException(
            String.format(
                Locale.ROOT, "%s: shard %d of %d is missing: %s", directory, i, count, name));
      }
    }
    if (shards.size() != count) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: holds shards of several models (%s, %s) and no %s to say which to read",
              directory,
              shards.firstKey(),
              shards.lastKey(),
              container.index()));
    }
    return shards.keySet().stream().map(directory::resolve).toList();
  }

  private static BadInputException noWeights(Path directory) {
    String expected =
        Arrays.stream(Container.values())
            .map(Container::single)
            .collect(Collectors.joining(" or "));
    return fileNames(directory).stream()
        .filter(name -> OTHER_WEIGHTS.matcher(name).matches())
        .findFirst()
        .map(
            other ->
                new BadInputException(
                    String.format(
                        Locale.ROOT,
                        "%s: holds %s but no %s, in one file or in shards; save the model again with save_pretrained",
                        directory,
                        Legible.excerpt(other),
                        expected)))
        .orElseGet(
            () ->
                new BadInputException(
                    String.format(
                        Locale.ROOT,
                        "%s: holds no weights; expected %s, in one file or in shards",
                        directory,
                        expected)));
  }

  private static List<String> fileNames(Path directory) {
    try (Stream<Path> files = Files.list(directory)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    } catch (IOException e) {
      throw InputFile.unreadable(directory, e);
    }
  }
}
