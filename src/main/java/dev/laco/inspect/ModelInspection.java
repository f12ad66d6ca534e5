package dev.laco.inspect;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.Architecture;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.Loader;
import dev.laco.model.ModelConfig;
import dev.laco.model.Multimodal;
import dev.laco.model.TensorGroup;
import dev.laco.model.TensorSpec;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What a checkpoint is, and whether the engine can run and prune it.
 *
 * @param architecture the class that {@code config.json} names, or {@code unknown}
 * @param modelType the config's {@code model_type}, or {@code unknown}
 * @param layers of the model, or of its language model; of one that is not supported, the config's
 *     {@code num_hidden_layers}, 0 where it has none
 * @param parameters elements of the weights; of a checkpoint that is not supported, elements of all
 *     tensors
 * @param dtype the element types of the weights, {@code bf16} or {@code bf16 and f32}
 * @param bytes of the weights in their files; of a checkpoint that is not supported, of all tensors
 * @param files that hold weights
 * @param parts elements of the weights by part of the model: {@code embedding}, {@code attention},
 *     {@code feedForward}, {@code norms} (with biases) and {@code head}, where the head has weights
 *     of its own, and {@code beside}, what a multimodal model has beside its language model; empty
 *     if not supported
 * @param prunedConfig the keys of {@code config.json} that a model with fewer layers changes; where
 *     no config can describe such a model, the reason; null if not supported
 * @param rules that hold for the model, by their names; {@code fit} stands for all that fit weights
 * @param loaders programs of other people that open what is pruned from the model
 * @param refused the rules and loaders that the two lists lack, each with the reason
 * @param digest of config and tensor headers, which plans name; null if not supported
 * @param whyNot why the checkpoint is not supported; null if it is
 * @param metadata of a GGUF file, values as text, of a list its type and length; empty for a folder
 */
public record ModelInspection(
    String architecture,
    String modelType,
    int layers,
    long parameters,
    String dtype,
    long bytes,
    int files,
    SequencedMap<String, Long> parts,
    @Nullable String prunedConfig,
    List<String> rules,
    List<Loader> loaders,
    SequencedMap<String, String> refused,
    @Nullable String digest,
    @Nullable BadInputException whyNot,
    SequencedMap<String, String> metadata) {

  /**
   * Reads config and tensor headers of a checkpoint, but no weights.
   *
   * @param model the folder of a checkpoint, a GGUF file, or the id of one in the Hugging Face
   *     hub's cache
   * @throws BadInputException if there is none, or its files are broken
   */
  public static ModelInspection of(Path model) {
    try (Checkpoint checkpoint = Checkpoint.openAny(Model.folder(model))) {
      JsonNode config = checkpoint.configJson();
      BadInputException whyNot = whyNotSupported(checkpoint);
      SequencedMap<String, String> refused = new LinkedHashMap<>();
      return new ModelInspection(
          config.path("architectures").path(0).asText("unknown"),
          config.path("model_type").asText("unknown"),
          whyNot == null
              ? checkpoint.config().numHiddenLayers()
              : checkpoint.configValue("num_hidden_layers").asInt(),
          whyNot == null
              ? checkpoint.parameterCount()
              : checkpoint.tensors().stream().mapToLong(TensorInfo::elements).sum(),
          Model.dtypes(checkpoint),
          whyNot == null ? checkpoint.storedBytes() : checkpoint.totalBytes(),
          checkpoint.files().size(),
          whyNot == null ? parts(checkpoint) : new LinkedHashMap<>(),
          whyNot == null ? prunedConfig(checkpoint) : null,
          whyNot == null ? rules(checkpoint.config(), refused) : List.of(),
          whyNot == null ? loaders(checkpoint, refused) : List.of(),
          refused,
          whyNot == null ? checkpoint.digest() : null,
          whyNot,
          checkpoint.metadata());
    }
  }

  private static @Nullable BadInputException whyNotSupported(Checkpoint checkpoint) {
    try {
      checkpoint.requireSupported();
      return null;
    } catch (BadInputException e) {
      return e;
    }
  }

  private static SequencedMap<String, Long> parts(Checkpoint checkpoint) {
    ModelConfig config = checkpoint.config();
    Architecture family = config.architecture();
    SequencedMap<String, Long> parts = new LinkedHashMap<>();
    parts.put("embedding", elements(checkpoint, family.embedding()));
    for (TensorGroup group : TensorGroup.values()) {
      long ofLayers =
          IntStream.range(0, config.numHiddenLayers())
              .mapToObj(layer -> family.layerTensors(config, layer))
              .flatMap(List::stream)
              .filter(tensor -> tensor.group() == group)
              .mapToLong(TensorSpec::elements)
              .sum();
      parts.put(
          switch (group) {
            case ATTENTION -> "attention";
            case FEED_FORWARD -> "feedForward";
            case NORMS -> "norms";
          },
          ofLayers);
    }
    for (String norm : family.finalNormTensors()) {
      parts.merge("norms", elements(checkpoint, norm), Long::sum);
    }
    if (!config.tieWordEmbeddings()) {
      parts.put("head", elements(checkpoint, family.head()));
    }
    for (String name : checkpoint.besideNames()) {
      parts.merge("beside", elements(checkpoint, name), Long::sum);
    }
    return parts;
  }

  private static List<String> rules(ModelConfig config, Map<String, String> refused) {
    List<String> rules = new ArrayList<>(List.of("drop"));
    hold(rules, List.of("replace", "rdsc", "mean"), config.whyNoMerge(), refused);
    rules.add("reconstruct");
    hold(rules, List.of("fit"), config.whyNoFit(), refused);
    if (config.whyOnlyDown() != null) {
      hold(rules, List.of("refine"), config.whyOnlyDown(), refused);
    }
    return rules;
  }

  private static void hold(
      List<String> rules, List<String> more, @Nullable String whyNot, Map<String, String> refused) {
    if (whyNot == null) {
      rules.addAll(more);
    } else {
      more.forEach(rule -> refused.put(rule, whyNot));
    }
  }

  private static List<Loader> loaders(Checkpoint checkpoint, Map<String, String> refused) {
    ModelConfig config = checkpoint.config();
    List<Loader> loaders = new ArrayList<>();
    for (Loader loader : Loader.values()) {
      String whyNot = config.architecture().whyNot(loader, config);
      if (loader == Loader.LLAMA_CPP) {
        whyNot = whyNoExport(checkpoint);
      }
      if (whyNot == null) {
        loaders.add(loader);
      } else {
        refused.put(loader.toString(), whyNot);
      }
    }
    return loaders;
  }

  private static @Nullable String whyNoExport(Checkpoint checkpoint) {
    try {
      new GgufExport(checkpoint, GgufType.F32, warning -> {});
      return null;
    } catch (BadInputException e) {
      return e.getMessage();
    }
  }

  private static long elements(Checkpoint checkpoint, String tensor) {
    return checkpoint.tensors().stream()
        .filter(info -> info.name().equals(tensor))
        .mapToLong(TensorInfo::elements)
        .sum();
  }

  /** The keys that differ in the config of a model without its middle layer. */
  private static @Nullable String prunedConfig(Checkpoint checkpoint) {
    int layers = checkpoint.config().numHiddenLayers();
    if (layers == 1) {
      return null;
    }
    ObjectNode config = checkpoint.configJson();
    ObjectNode text = Multimodal.textOf(config);
    List<Integer> others =
        IntStream.range(0, layers).filter(layer -> layer != layers / 2).boxed().toList();
    ObjectNode pruned;
    try {
      pruned = ConfigRewriter.rewrite("config.json", config, others);
    } catch (BadInputException e) {
      return e.getMessage();
    }
    return Multimodal.textOf(pruned).properties().stream()
        .filter(entry -> !entry.getValue().equals(text.get(entry.getKey())))
        .map(Map.Entry::getKey)
        .collect(Collectors.joining(", "));
  }

  /** Whether the engine can run and prune the checkpoint. */
  public boolean isSupported() {
    return whyNot == null;
  }
}
