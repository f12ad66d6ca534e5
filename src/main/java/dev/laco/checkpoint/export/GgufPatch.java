package dev.laco.checkpoint.export;

import dev.laco.BadInputException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WeightFile;
import dev.laco.checkpoint.WeightReader;
import dev.laco.checkpoint.WrittenSizes;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.gguf.GgufTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.model.GgufNames;
import dev.laco.model.GgufWeight;
import dev.laco.model.GgufWeight.Rows;
import dev.laco.model.LatentAttention;
import dev.laco.model.ModelConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Writes what was made of a GGUF file as a GGUF file: tensors that are the original's keep their
 * bytes and types, layers are numbered anew, and metadata stay but for the number of layers and
 * lists with an element for each layer.
 */
public final class GgufPatch extends GgufFile {
  private final Checkpoint original;
  private final WeightFile file;
  private final GgufHeader header;
  private final ModelConfig config;
  private final List<Integer> bases;
  private final ModelWeights weights;
  private final LlamaCppRules rules;

  private final Map<GgufType, Integer> made = new EnumMap<>(GgufType.class);
  private int copied;

  /** The tensors of the original that hold its weights, by the rows that they hold. */
  private final Map<List<Rows>, GgufTensor> stored = new HashMap<>();

  /**
   * Prepares the file; writes nothing yet.
   *
   * @param original the GGUF file
   * @param header of {@code original}
   * @param bases for each layer that is written, the layer of the original in whose place it is
   * @param config of the model that is written
   * @param type of new matrices: F32, F16, BF16 or Q8_0; null for that of the matrix in whose place
   *     one is, and Q8_0 in the place of a quantised one
   * @param warnings is told, a line each, what the user should know and does not end the work
   * @throws BadInputException if llama.cpp cannot compute the model
   */
  public GgufPatch(
      Checkpoint original,
      GgufHeader header,
      List<Integer> bases,
      ModelConfig config,
      ModelWeights weights,
      @Nullable GgufType type,
      Consumer<String> warnings) {
    super(original, new GgufWriter(header.alignment()));
    this.original = original;
    this.file = original.files().getFirst();
    this.header = header;
    this.bases = List.copyOf(bases);
    this.config = config;
    this.weights = weights;
    this.rules = rules(original, config);
    rules.require(warnings);
    metadata(rules.family().name() + ".");
    tensors(type);
  }

  private void metadata(String prefix) {
    GgufMetadata metadata = header.metadata();
    String depth = prefix + "block_count";
    String windows = prefix + "attention.sliding_window_pattern";
    String dense = prefix + GgufNames.LEADING_DENSE;
    for (String key : metadata.keys()) {
      if (key.equals(depth)) {
        writer.number(depth, bases.size());
      } else if (key.equals(dense) && rules.leadingDense().isPresent()) {
        writer.number(dense, rules.leadingDense().getAsInt());
      } else if (key.startsWith(prefix)
          && !key.startsWith(prefix + "rope.")
          && metadata.listSize(key) == original.config().numHiddenLayers()) {
        writer.entry(key, metadata.value(key, bases));
      } else if (!key.equals(windows)) {
        writer.entry(key, metadata.value(key));
      }
    }
    // Where there is no list, llama.cpp goes by the positions of layers, which are others now.
    if (rules.hasWindowPattern() && metadata.listSize(windows) < 0) {
      writer.bools(windows, rules.sliding());
    }
    if (rules.family().hasLatentAttention()) {
      latentAttention(prefix);
    }
    String linear = prefix + GgufNames.LINEAR_LAYERS;
    if (rules.family().hasLinearAttention()
        && metadata.listSize(linear) < 0
        && !rules.isSoftmaxEvery(
            metadata
                .integer(prefix + GgufNames.SOFTMAX_INTERVAL)
                .orElse(GgufNames.USUAL_INTERVAL))) {
      writer.bools(linear, rules.linear());
    }
  }

  /**
   * What llama.cpp derives from the number of layers where a file does not say it: whether queries
   * have latent vectors, and what the logits of routers become.
   */
  private void latentAttention(String prefix) {
    LatentAttention sizes = Objects.requireNonNull(config.latentAttention());
    String rank = prefix + GgufNames.QUERY_RANK;
    if (!header.metadata().has(rank)) {
      writer.number(rank, sizes.queryRank());
    }
    String gating = prefix + GgufNames.GATING;
    if (config.mixture() != null && !header.metadata().has(gating)) {
      writer.number(gating, GgufNames.gating(config.mixture().router().scores()));
    }
  }

  private void tensors(@Nullable GgufType type) {
    Map<String, GgufTensor> inFile = new HashMap<>();
    header.tensors().forEach(tensor -> inFile.put(tensor.name(), tensor));
    for (GgufWeight weight : GgufNames.all(original.config())) {
      GgufTensor tensor = inFile.get(weight.name());
      if (tensor != null) {
        stored.put(weight.rows(), tensor);
      }
    }
    Map<String, GgufWeight> wanted = byName(config);
    GgufTensors computed = new GgufTensors(original.directory().toString(), weights);
    for (GgufTensor tensor : header.tensors()) {
      OptionalInt layer = GgufNames.layerOf(tensor.name());
      if (layer.isPresent() && !bases.contains(layer.getAsInt())) {
        continue;
      }
      String name =
          layer.isEmpty()
              ? tensor.name()
              : GgufNames.inLayer(
                  bases.indexOf(layer.getAsInt()), GgufNames.suffixOf(tensor.name()));
      GgufWeight weight = wanted.get(name);
      List<Rows> sources = weight == null ? List.of() : originals(weight);
      GgufTensor source = weight == null ? tensor : stored.get(sources);
      if (weight == null || source != null) {
        writer.tensor(copy(name, source == null ? tensor : source, sources));
        copied++;
      } else {
        GgufWriter.Tensor written = computed.tensor(weight, typeOfNew(tensor, type));
        writer.tensor(written);
        made.merge(written.type(), 1, Integer::sum);
      }
    }
  }

  /**
   * The most bytes that the tensors of a file take that is made of a GGUF file.
   *
   * @param header of {@code original}
   * @param type of new matrices, as in the file
   * @param newWeights whether weights of layers may be computed, and not all be the original's
   */
  public static WrittenSizes sizes(
      Checkpoint original, GgufHeader header, @Nullable GgufType type, boolean newWeights) {
    Map<String, GgufWeight> weights = byName(original.config());
    long outside = 0;
    long[] layers = new long[original.config().numHiddenLayers()];
    for (GgufTensor tensor : header.tensors()) {
      OptionalInt layer = GgufNames.layerOf(tensor.name());
      GgufWeight weight = weights.get(tensor.name());
      long bytes = tensor.byteSize();
      if (layer.isEmpty()) {
        outside += bytes;
      } else {
        layers[layer.getAsInt()] +=
            weight == null || !newWeights
                ? bytes
                : Math.max(bytes, GgufTensors.byteSize(weight, typeOfNew(tensor, type)));
      }
    }
    return new WrittenSizes(outside, Arrays.stream(layers).boxed().toList());
  }

  private static Map<String, GgufWeight> byName(ModelConfig config) {
    Map<String, GgufWeight> weights = new HashMap<>();
    GgufNames.all(config).forEach(weight -> weights.put(weight.name(), weight));
    return weights;
  }

  /** The original's rows that a tensor would hold; none where one of its weights is new. */
  private List<Rows> originals(GgufWeight weight) {
    List<Rows> originals = new ArrayList<>();
    for (Rows rows : weight.rows()) {
      String original = weights.original(rows.weight());
      if (original == null) {
        return List.of();
      }
      originals.add(rows.of(original));
    }
    return originals;
  }

  /** The type of a new matrix in the place of a tensor. */
  private static GgufType typeOfNew(GgufTensor replaced, @Nullable GgufType asked) {
    if (asked != null) {
      return asked;
    }
    return replaced.type().isQuantised() ? GgufType.Q8_0 : replaced.type();
  }

  private GgufWriter.Tensor copy(String name, GgufTensor source, List<Rows> holds) {
    return new GgufWriter.Tensor(
        name,
        source.type(),
        source.shape(),
        target -> {
          for (String weight : new LinkedHashSet<>(holds.stream().map(Rows::weight).toList())) {
            try (WeightReader reader = original.reader()) {
              reader.hold(weight);
              original.requireFinite(weight);
              reader.giveUp(weight);
            }
          }
          file.copyTo(source.offset(), source.byteSize(), target);
        });
  }

  @Override
  public String types() {
    return String.format(
        Locale.ROOT,
        "%d tensors as they were, %s",
        copied,
        made.isEmpty()
            ? "none new"
            : made.entrySet().stream()
                .map(entry -> entry.getValue() + " new in " + entry.getKey().shortName())
                .collect(Collectors.joining(", ")));
  }
}
