package dev.laco.heal;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.report.TrainingStart;
import dev.laco.training.Adapters;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeSet;
import java.util.stream.IntStream;

/**
 * The adapters of a heal as a LoRA adapter of the library PEFT (github.com/huggingface/peft), for
 * the pruned model as it was before the heal. Its two files lie in one folder.
 */
public final class PeftAdapter {
  /** The name of the file of {@link #writeConfig}. */
  public static final String CONFIG = "adapter_config.json";

  /** The name of the file of {@link #writeTensors}. */
  public static final String TENSORS = "adapter_model.safetensors";

  /** What stands before the name of a module of the model. */
  private static final String PREFIX = "base_model.model.";

  private static final String MERGED = "leave it out; OUT has the adapters merged into its weights";

  private final ObjectNode config;
  private final SortedMap<String, HostTensor> adapters;

  /**
   * The adapter.
   *
   * @param adapters by the names of their projections in the pruned model
   */
  PeftAdapter(
      Model pruned, Adapters how, TrainingStart start, SortedMap<String, HostTensor> adapters) {
    this.adapters = adapters;
    this.config = config(pruned, how, start, adapters);
  }

  /**
   * Checks that a heal can give such an adapter.
   *
   * @param folder where the adapter is to be, for messages
   * @throws UsageException if it trains no adapters, or the model's projections are not modules by
   *     themselves in transformers
   */
  public static void requireWritable(Model pruned, HealRequest request, Path folder) {
    if (request.heal().lora() == null) {
      throw Setting.of("adapter")
          .refuse(
              folder, " is of a training of adapters: ", "give " + Setting.of("lora") + ", too");
    }
    ModelConfig config = pruned.config();
    if (config.architecture().isMultimodal()) {
      throw Setting.of("adapter")
          .refuse(
              folder,
              " cannot hold adapters of "
                  + config.architecture().className()
                  + ", whose modules have other names in transformers than its tensors: ",
              MERGED);
    }
    boolean mixtures =
        IntStream.range(0, config.numHiddenLayers())
            .anyMatch(layer -> config.mixture(layer) != null);
    if (mixtures) {
      throw Setting.of("adapter")
          .refuse(
              folder,
              " cannot hold adapters of "
                  + config.architecture().className()
                  + ", whose experts are no modules by themselves in transformers: ",
              MERGED);
    }
  }

  private static ObjectNode config(
      Model pruned, Adapters how, TrainingStart start, SortedMap<String, HostTensor> adapters) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("peft_type", "LORA");
    json.put("task_type", "CAUSAL_LM");
    json.put("base_model_name_or_path", pruned.directory().toString());
    json.put("inference_mode", true);
    json.put("r", how.rank());
    if (how.alpha() == Math.rint(how.alpha())) {
      json.put("lora_alpha", Math.round(how.alpha()));
    } else {
      json.put("lora_alpha", how.alpha());
    }
    json.put("lora_dropout", 0.0);
    json.put("bias", "none");
    json.put("fan_in_fan_out", false);
    ArrayNode modules = json.putArray("target_modules");
    TreeSet<String> names = new TreeSet<>();
    for (String name : adapters.keySet()) {
      if (name.endsWith(Adapters.A)) {
        String module = name.substring(0, name.length() - Adapters.A.length());
        names.add(module.substring(module.lastIndexOf('.') + 1));
      }
    }
    names.forEach(modules::add);
    ArrayNode layers = json.putArray("layers_to_transform");
    IntStream.range(start.firstLayer(), start.firstLayer() + start.layers()).forEach(layers::add);
    json.putNull("modules_to_save");
    return json;
  }

  /**
   * Writes {@value #CONFIG}.
   *
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   */
  public void writeConfig(Path file) {
    OutputFiles.write(file, (config.toPrettyString() + "\n").getBytes(UTF_8));
  }

  /**
   * Writes {@value #TENSORS}.
   *
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   */
  public void writeTensors(Path file) {
    List<OutputTensor> tensors = new ArrayList<>();
    adapters.forEach(
        (name, adapter) ->
            tensors.add(
                OutputTensor.of(PREFIX + name, adapter.dtype(), adapter.shape(), adapter.data())));
    new SafetensorsWriter(tensors).write(file, written -> {});
  }

  /** The most bytes that both files take. */
  public static long mostBytes(Model pruned, HealRequest request) {
    ModelConfig config = pruned.config();
    Adapters how = Objects.requireNonNull(request.heal().adapters());
    return how.parameters(config, 0, config.numHiddenLayers()) * Float.BYTES + (16L << 20);
  }
}
