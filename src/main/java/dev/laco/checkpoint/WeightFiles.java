package dev.laco.checkpoint;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import dev.laco.BadInputException;
import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Which files of a folder hold the weights, looked for in the order that Hugging Face's loader
 * looks: one file, then an index and its shards; last, shards whose names say how many there are.
 *
 * @param shards the safetensors files, in the order of their names
 * @param index the index file's tensor to shard file, empty where there is no index
 */
record WeightFiles(List<Path> shards, Map<String, Path> index) {
  static final String SINGLE = "model.safetensors";
  static final String INDEX = "model.safetensors.index.json";

  /** Most tensors of a checkpoint, so that a hostile index does not fill the heap. */
  private static final int MAX_ENTRIES = 500_000;

  private static final JsonFactory JSON =
      JsonFactory.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .build();

  private static final Pattern SHARD = Pattern.compile("(.+)-(\\d{5})-of-(\\d{5})\\.safetensors");
  private static final Pattern OTHER_WEIGHTS =
      Pattern.compile(".*\\.(bin|pt|pth|gguf|onnx|h5|msgpack|safetensors)");

  /**
   * Finds the weights of a folder. The files named by an index are not looked at yet.
   *
   * @throws BadInputException if there are none that we read, or an index or a shard name is wrong
   */
  static WeightFiles find(Path directory) {
    if (Files.exists(directory.resolve(SINGLE))) {
      return new WeightFiles(List.of(directory.resolve(SINGLE)), Map.of());
    }
    Path index = directory.resolve(INDEX);
    if (Files.exists(index)) {
      Map<String, Path> weightMap = readIndex(directory, index);
      return new WeightFiles(List.copyOf(new TreeSet<>(weightMap.values())), weightMap);
    }
    return new WeightFiles(numberedShards(directory), Map.of());
  }

  /** Reads the index as it streams: those of large mixtures of experts have ten megabytes. */
  private static Map<String, Path> readIndex(Path directory, Path index) {
    Map<String, Path> files = new LinkedHashMap<>();
    try (FileChannel channel = InputFiles.openForReading(index);
        JsonParser json = JSON.createParser(Channels.newInputStream(channel))) {
      if (json.nextToken() != JsonToken.START_OBJECT) {
        throw new BadInputException(index + ": is not a JSON object");
      }
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        boolean weightMap = json.currentName().equals("weight_map");
        json.nextToken();
        if (weightMap && json.hasToken(JsonToken.START_OBJECT)) {
          readWeightMap(directory, index, json, files);
        } else {
          json.skipChildren();
        }
      }
    } catch (JacksonException e) {
      throw InputFiles.badJson(index, e);
    } catch (IOException e) {
      throw InputFiles.unreadable(index, e);
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
      if (json.nextToken() != JsonToken.VALUE_STRING) {
        throw new BadInputException(
            "%s: weight_map entry '%s' is not a file name".formatted(index, tensor));
      }
      if (files.size() == MAX_ENTRIES) {
        throw new BadInputException(
            "%s: weight_map has more than %d entries".formatted(index, MAX_ENTRIES));
      }
      files.put(
          tensor,
          known.computeIfAbsent(json.getText(), name -> inside(directory, index, tensor, name)));
    }
  }

  /**
   * Refuses a shard name that is absolute or leaves the folder; a symbolic link there may lead
   * anywhere.
   */
  private static Path inside(Path directory, Path index, String tensor, String name) {
    Path relative;
    try {
      relative = Path.of(name).normalize();
    } catch (InvalidPathException e) {
      throw new BadInputException(
          "%s: weight_map entry '%s' names no valid file".formatted(index, tensor), e);
    }
    if (name.isEmpty() || relative.isAbsolute() || relative.startsWith("..")) {
      throw new BadInputException(
          "%s: weight_map entry '%s' names '%s', which is not inside the model's folder"
              .formatted(index, tensor, name));
    }
    return directory.resolve(relative);
  }

  private static List<Path> numberedShards(Path directory) {
    TreeMap<String, Matcher> shards = new TreeMap<>();
    TreeSet<String> others = new TreeSet<>();
    for (String name : fileNames(directory)) {
      Matcher shard = SHARD.matcher(name);
      if (shard.matches()) {
        shards.put(name, shard);
      } else if (OTHER_WEIGHTS.matcher(name).matches()) {
        others.add(name);
      }
    }
    if (shards.isEmpty()) {
      throw noWeights(directory, others);
    }
    Matcher first = shards.firstEntry().getValue();
    int count = Integer.parseInt(first.group(3));
    for (int i = 1; i <= count; i++) {
      String name = "%s-%05d-of-%05d.safetensors".formatted(first.group(1), i, count);
      if (!shards.containsKey(name)) {
        throw new BadInputException(
            "%s: shard %d of %d is missing: %s".formatted(directory, i, count, name));
      }
    }
    if (shards.size() != count) {
      throw new BadInputException(
          "%s: holds shards of several models (%s, %s) and no %s to say which to read"
              .formatted(directory, shards.firstKey(), shards.lastKey(), INDEX));
    }
    return shards.keySet().stream().map(directory::resolve).toList();
  }

  private static BadInputException noWeights(Path directory, TreeSet<String> others) {
    if (others.isEmpty()) {
      return new BadInputException(
          "%s: holds no weights; expected %s or shards with %s"
              .formatted(directory, SINGLE, INDEX));
    }
    return new BadInputException(
        ("%s: holds %s but no %s: only safetensors checkpoints of Hugging Face's layout can be read;"
                + " save the model again with save_pretrained(..., safe_serialization=True)")
            .formatted(directory, others.first(), SINGLE));
  }

  private static List<String> fileNames(Path directory) {
    try (Stream<Path> files = Files.list(directory)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    } catch (IOException e) {
      throw InputFiles.unreadable(directory, e);
    }
  }
}
