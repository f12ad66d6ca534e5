package dev.laco.checkpoint.export;

import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.model.Architecture;
import dev.laco.model.GgufFamily;
import dev.laco.model.ModelConfig;
import java.nio.file.Path;
import java.util.Locale;
import java.util.function.LongConsumer;

/** A GGUF file that is prepared and not yet written. */
public abstract sealed class GgufFile permits GgufExport, GgufPatch {
  private final Checkpoint source;

  /** The bytes of the file. */
  final GgufWriter writer;

  /** A file of weights of a checkpoint. */
  GgufFile(Checkpoint source, GgufWriter writer) {
    this.source = source;
    this.writer = writer;
  }

  /**
   * Refuses what cannot be made of a checkpoint as a GGUF file.
   *
   * @param made the config of what is made
   * @throws dev.laco.BadInputException if llama.cpp does not compute such a model
   */
  public static void require(Checkpoint original, ModelConfig made) {
    rules(original, made).require(warning -> {});
  }

  /**
   * Refuses a checkpoint of which no GGUF file can be made, whichever of its layers are removed, as
   * far as its layers do not matter.
   *
   * @throws dev.laco.BadInputException if llama.cpp does not compute such models
   */
  public static void requireOfAnyLayers(Checkpoint original) {
    rules(original, original.config()).requireOfAnyLayers();
  }

  /**
   * What llama.cpp computes for a file of what is made of a checkpoint.
   *
   * @param made the config of what is made
   * @throws dev.laco.BadInputException if llama.cpp does not know the architecture, or if what is
   *     made of a GGUF file would be of another architecture than that file
   */
  static LlamaCppRules rules(Checkpoint original, ModelConfig made) {
    String model = original.configName();
    Architecture architecture = made.architecture();
    GgufFamily family =
        architecture
            .gguf()
            .orElseThrow(
                () ->
                    LlamaCppRules.unsupported(
                        model, "the architecture " + architecture.className()));
    GgufHeader header = original.gguf();
    if (header != null) {
      String name = header.metadata().string("general.architecture").orElseThrow();
      if (!family.name().equals(name)) {
        throw LlamaCppRules.unsupported(
            model,
            String.format(
                Locale.ROOT, "a file of %s with %d layers", name, made.numHiddenLayers()));
      }
    }
    return new LlamaCppRules(model, family, made);
  }

  /** The element types of its tensors for people. */
  public abstract String types();

  /** Bytes of all tensors. */
  public final long tensorBytes() {
    return writer.tensorBytes();
  }

  /** Bytes of the file. */
  public final long fileBytes() {
    return writer.fileBytes();
  }

  /**
   * Writes the file, which must not exist, and forces it to the disk.
   *
   * @param progress told after each tensor how many bytes it had
   * @throws dev.laco.BadInputException if the model's files changed, or a value is too large for
   *     its type
   * @throws dev.laco.ResourceException if the disk is full or cannot be written
   */
  public final void write(Path file, LongConsumer progress) {
    writer.write(file, progress);
    source.requireIntact();
  }
}
