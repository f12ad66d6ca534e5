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
import dev.laco.model.ModelConfig;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
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
import java.util.stream.IntStream;
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

  private static Map<String, TensorInfo> table(
      Path file, GgufHeader header, Map<String, GgufWeight> weights) {
    Map<String, TensorInfo> table = LinkedHashMap.newLinkedHashMap(header.tensors().size());
    for (GgufTensor tensor : header.tensors()) {
      // The config says what the factors say.
      if (weights.isEmpty() || !GgufNames.ALL_ROPE_FACTORS.contains(tensor.name())) {
        for (TensorInfo info : weights(tensor, weights.get(tensor.name()))) {
          if (table.put(info.name(), info) != null) {
            throw new BadInputException(
                String.format(Locale.ROOT, "%s: tensor '%s' is there twice", file, info.name()));
          }
        }
      }
    }
    return table;
  }

  /** The weights of a tensor: itself, or the experts that it stacks. */
  private static List<TensorInfo> weights(GgufTensor tensor, @Nullable GgufWeight weight) {
    List<Long> shape = tensor.shape();
    if (weight == null) {
      return List.of(info(tensor.name(), tensor, shape, 0, 1, null));
    }
    if (!weight.stacked()) {
      boolean same = withoutOnes(shape).equals(withoutOnes(weight.shape()));
      return List.of(
          info(weight.weights().getFirst(), tensor, same ? weight.shape() : shape, 0, 1, weight));
    }
    int count = weight.weights().size();
    if (shape.size() != 3 || shape.getFirst() != count) {
      return List.of(info(weight.weights().getFirst(), tensor, shape, 0, 1, null));
    }
    return IntStream.range(0, count)
        .mapToObj(i -> info(weight.weights().get(i), tensor, shape.subList(1, 3), i, count, weight))
        .toList();
  }

  /** An extent of one row may be missing in a file. */
  private static List<Long> withoutOnes(List<Long> shape) {
    return shape.stream().filter(extent -> extent != 1).toList();
  }

  /**
   * A row of the table.
   *
   * @param part which of {@code parts} equal parts of the tensor
   */
  private static TensorInfo info(
      String name,
      GgufTensor tensor,
      List<Long> shape,
      int part,
      int parts,
      @Nullable GgufWeight weight) {
    long size = tensor.byteSize() / parts;
    return new TensorInfo(
        name,
        tensor.type(),
        shape,
        tensor.offset() + part * size,
        size,
        decoder(tensor, shape, weight));
  }

  private static TensorInfo.@Nullable Decoder decoder(
      GgufTensor tensor, List<Long> shape, @Nullable GgufWeight weight) {
    GgufType type = tensor.type();
    if (type.dtype() == null || shape.isEmpty()) {
      return null;
    }
    long rows = shape.getFirst();
    int heads = weight == null ? 0 : weight.interleavedHeads();
    boolean interleaved = heads > 0 && rows > 0 && rows % (2L * heads) == 0;
    double added = weight == null || type.dtype() != DType.F32 ? 0 : weight.added();
    return type.isQuantised() || interleaved || added != 0
        ? new GgufRows(type, rows, interleaved ? heads : 0, added)
        : null;
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
