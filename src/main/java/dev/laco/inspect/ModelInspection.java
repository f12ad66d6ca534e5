package dev.laco.inspect;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.Model;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TensorInfo;
import java.nio.file.Path;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/**
 * What a checkpoint is, and whether the engine can run and prune it.
 *
 * @param architecture the class that {@code config.json} names, or {@code unknown}
 * @param modelType the config's {@code model_type}, or {@code unknown}
 * @param layers the config's {@code num_hidden_layers}; 0 where it has none
 * @param parameters elements of the weights; of a checkpoint that is not supported, elements of all
 *     tensors
 * @param dtype the element types of the weights, {@code bf16} or {@code bf16 and f32}
 * @param bytes of all weights
 * @param files that hold weights
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
      return new ModelInspection(
          config.path("architectures").path(0).asText("unknown"),
          config.path("model_type").asText("unknown"),
          config.path("num_hidden_layers").asInt(),
          whyNot == null
              ? checkpoint.parameterCount()
              : checkpoint.tensors().stream().mapToLong(TensorInfo::elements).sum(),
          Model.dtypes(checkpoint),
          checkpoint.totalBytes(),
          checkpoint.files().size(),
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

  /** Whether the engine can run and prune the checkpoint. */
  public boolean isSupported() {
    return whyNot == null;
  }
}
