package dev.laco.checkpoint;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.gguf.GgufTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.checkpoint.table.TableLimits;
import dev.laco.checkpoint.table.TableReader;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.checkpoint.tokenizer.GgufTokenizer;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.GgufNames;
import dev.laco.model.GgufWeight;
import dev.laco.model.GgufWeight.Rows;
import dev.laco.model.GgufWeight.Values;
import dev.laco.model.ModelConfig;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** A GGUF file as a checkpoint: its tensors, and its metadata as a config. */
final class GgufModel implements TableReader {
  private static final String ARCHITECTURE = "general.architecture";

  /** Most bytes of rotary factors: heads are at most a few hundred elements wide. */
  private static final long MAX_FACTORS = 1 << 16;

  private ObjectNode config = JsonNodeFactory.instance.objectNode();
  private @Nullable GgufHeader header;

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
    GgufHeader header = GgufHeader.read(file, bytes, TableLimits.MAX_TENSORS);
    this.header = header;
    GgufMetadata metadata = header.metadata();
    String name = metadata.string(ARCHITECTURE).orElse("unknown");
    Optional<Architecture> family =
        Architecture.forGguf(
            name,
            metadata.integer(name + ".expert_count").orElse(0) > 0,
            GgufNames.scores(
                metadata.integer(name + "." + GgufNames.GATING),
                header.tensors().stream().map(GgufTensor::name)),
            metadata.integer(name + ".attention.sliding_window").orElse(0) > 0);
    if (family.isEmpty()) {
      config.putArray("architectures").add(name);
      config.put("model_type", name);
      metadata
          .integer(name + ".block_count")
          .ifPresent(count -> config.put("num_hidden_layers", count));
      return table(file, header, Map.of());
    }
    config = GgufConfig.of(file, metadata, family.get(), tensors(header, bytes));
    return table(file, header, weights(header, ModelConfig.parse(file.toString(), config)));
  }

  private static GgufConfig.Tensors tensors(GgufHeader header, MemorySegment bytes) {
    Set<String> names =
        header.tensors().stream().map(GgufTensor::name).collect(Collectors.toUnmodifiableSet());
    long vocabulary = 0;
    String torchType = DType.F32.torchName();
    Map<String, List<Float>> factors = new HashMap<>();
    for (GgufTensor tensor : header.tensors()) {
      DType dtype = tensor.type().dtype();
      if (tensor.name().equals(GgufNames.EMBEDDING) && !tensor.shape().isEmpty()) {
        vocabulary = tensor.shape().getFirst();
        torchType = dtype == null ? torchType : dtype.torchName();
      }
      if (GgufNames.ALL_ROPE_FACTORS.contains(tensor.name())
          && dtype == DType.F32
          && tensor.byteSize() <= MAX_FACTORS) {
        factors.put(
            tensor.name(),
            bytes
                .asSlice(tensor.offset(), tensor.byteSize())
                .elements(ValueLayout.JAVA_FLOAT_UNALIGNED)
                .map(factor -> factor.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0))
                .toList());
      }
    }
    return new GgufConfig.Tensors(names, vocabulary, torchType, factors);
  }

  /** The tensors that hold the model's weights, by their names in the file. */
  private static Map<String, GgufWeight> weights(GgufHeader header, ModelConfig config) {
    Map<String, GgufWeight> weights = new HashMap<>();
    GgufNames.outside(config).forEach(weight -> weights.put(weight.name(), weight));
    // Every layer has tensors: a wrong number of layers makes no long table.
    int layers = Math.min(config.numHiddenLayers(), header.tensors().size());
    for (int layer = 0; layer < layers; layer++) {
      GgufNames.layer(config, layer).forEach(weight -> weights.put(weight.name(), weight));
    }
    return weights;
  }

  /**
   * The weights of the file.
   *
   * @param held what the tensors hold, by their names in the file; empty where the model is unknown
   */
  private static Map<String, TensorInfo> table(
      Path file, GgufHeader header, Map<String, GgufWeight> held) {
    Map<String, TensorInfo> table = LinkedHashMap.newLinkedHashMap(header.tensors().size());
    Map<String, List<Source>> sources = new LinkedHashMap<>();
    for (GgufTensor tensor : header.tensors()) {
      GgufWeight weight = held.get(tensor.name());
      if (weight == null) {
        // The config says what the factors say.
        if (held.isEmpty() || !GgufNames.ALL_ROPE_FACTORS.contains(tensor.name())) {
          table.put(tensor.name(), asItIs(tensor.name(), tensor));
        }
      } else if (!withoutOnes(tensor.shape()).equals(withoutOnes(weight.shape()))) {
        String first = weight.rows().getFirst().weight();
        table.put(first, asItIs(first, tensor));
      } else {
        long row = 0;
        for (Rows rows : weight.rows()) {
          sources
              .computeIfAbsent(rows.weight(), name -> new ArrayList<>())
              .add(new Source(tensor, weight, row, rows));
          row += rows.count();
        }
      }
    }
    sources.forEach(
        (name, rows) -> {
          long found = rows.stream().mapToLong(source -> source.rows.elements()).sum();
          // Of a weight that is not whole an error says that it is missing.
          if (found == GgufWeight.elementsOf(rows.getFirst().rows.shape())
              && table.put(name, info(file, name, rows)) != null) {
            throw new BadInputException(
                String.format(Locale.ROOT, "%s: tensor '%s' is there twice", file, name));
          }
        });
    return table;
  }

  /** A tensor that is no weight, or one of another shape than a weight, which an error names. */
  private static TensorInfo asItIs(String name, GgufTensor tensor) {
    return new TensorInfo(name, tensor.type(), tensor.shape(), tensor.offset(), tensor.byteSize());
  }

  /** An extent of one row may be missing in a file. */
  private static List<Long> withoutOnes(List<Long> shape) {
    return shape.stream().filter(extent -> extent != 1).toList();
  }

  /**
   * Rows of a weight.
   *
   * @param tensor in which they lie
   * @param held what the tensor holds
   * @param first the tensor's row with which they begin
   */
  private record Source(GgufTensor tensor, GgufWeight held, long first, Rows rows) {
    GgufType type() {
      return tensor.type();
    }

    long begin() {
      return tensor.offset() + type().bytes(first * held.columns());
    }

    long end() {
      return begin() + type().bytes(rows.elements());
    }
  }

  /** The weight that these rows make. */
  private static TensorInfo info(Path file, String name, List<Source> sources) {
    for (Source source : sources) {
      if (source.held.columns() % source.type().blockElements() != 0) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: tensor '%s' is %s; the elements of a vector must be F32, F16 or BF16",
                file,
                source.tensor.name(),
                source.type()));
      }
    }
    GgufType type = type(sources);
    long begin = sources.stream().mapToLong(Source::begin).min().orElseThrow();
    long end = sources.stream().mapToLong(Source::end).max().orElseThrow();
    Rows only = sources.getFirst().rows;
    DType dtype = type.dtype();
    Values values = sources.getFirst().held.values();
    boolean asItIs =
        sources.size() == 1 && only.isWhole() && !type.isQuantised() && !values.areOfEach();
    return new TensorInfo(
        name,
        type,
        only.shape(),
        begin,
        end - begin,
        asItIs || dtype == null ? null : new GgufRows(dtype, pieces(sources, begin), values));
  }

  /**
   * A type whose values are those of the weight: F32 where the sources have several, and where the
   * file has other values in the place of each.
   */
  private static GgufType type(List<Source> sources) {
    GgufType first = sources.getFirst().type();
    for (Source source : sources) {
      if (source.type().dtype() == null) {
        return source.type();
      }
      if (source.type().dtype() != first.dtype() || source.held.values().areOfEach()) {
        first = GgufType.F32;
      }
    }
    return first;
  }

  private static List<GgufRows.Piece> pieces(List<Source> sources, long begin) {
    return sources.stream()
        .map(source -> new GgufRows.Piece(source.type(), source.begin() - begin, source.rows))
        .toList();
  }

  /** What stands before the tensors. */
  GgufHeader header() {
    return Objects.requireNonNull(header, "the file was not read yet");
  }

  private GgufMetadata metadata() {
    return header().metadata();
  }

  /** The metadata as a config of Hugging Face. */
  ObjectNode config() {
    return config;
  }

  /**
   * The files of Hugging Face's layout that the metadata stand for, by name. A supplier throws a
   * {@link BadInputException} where the metadata are broken or of a kind that is not known.
   */
  SequencedMap<String, Supplier<String>> files(Path file) {
    SequencedMap<String, Supplier<String>> files = new LinkedHashMap<>();
    GgufTokenizer tokenizer = new GgufTokenizer(file, metadata());
    if (tokenizer.isPresent()) {
      files.put("tokenizer.json", tokenizer::json);
      files.put("tokenizer_config.json", tokenizer::config);
      files.put("generation_config.json", tokenizer::generationConfig);
    }
    return files;
  }

  /** The metadata for people, in the order of the file. */
  SequencedMap<String, String> shown() {
    SequencedMap<String, String> shown = new LinkedHashMap<>();
    metadata().keys().forEach(key -> shown.put(key, metadata().show(key)));
    return shown;
  }
}
