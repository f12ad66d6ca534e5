package dev.laco.apply;

import dev.laco.UsageException;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.model.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;

/** What a pruned model is written as. */
public sealed interface OutputFormat {
  /**
   * A folder of Hugging Face's layout.
   *
   * @param maxShardBytes most bytes of a weight file
   * @param dtype of all weights; null for that of the original's
   */
  record Folder(long maxShardBytes, @Nullable DType dtype) implements OutputFormat {
    /** Most bytes of a weight file where nobody says. */
    public static final long MAX_SHARD_BYTES = 5_000_000_000L;

    /** The folder that is written where nobody says more. */
    public static final Folder DEFAULT = new Folder(MAX_SHARD_BYTES, null);

    /**
     * What a command must name to write these files: names of options and their values, none where
     * a command without options writes the same files.
     *
     * @param weightBytes of all weight files
     */
    SequencedMap<String, String> options(long weightBytes) {
      SequencedMap<String, String> options = new LinkedHashMap<>();
      if (dtype != null) {
        options.put("dtype", dtype.shortName());
      }
      if (maxShardBytes != MAX_SHARD_BYTES
          && weightBytes > Math.min(maxShardBytes, MAX_SHARD_BYTES)) {
        options.put("max-shard-size", Long.toString(maxShardBytes));
      }
      return options;
    }
  }

  /**
   * A GGUF file.
   *
   * @param type of matrices: F32, F16, BF16 or Q8_0; of those that are new, where the original is a
   *     GGUF file. Null for that of the original's matrices, and for Q8_0 in the place of those
   *     that are quantised
   */
  record Gguf(@Nullable GgufType type) implements OutputFormat {}

  /** Whether this is the name of a GGUF file, and of no folder that is there. */
  static boolean isGguf(Path out) {
    return out.toString().endsWith(".gguf") && !Files.isDirectory(out);
  }

  /**
   * The format that a name and a type tell.
   *
   * @param maxShardBytes most bytes of a weight file in a folder
   * @param type F32, F16, BF16 or, in a GGUF file, Q8_0; null for that of the original
   * @throws UsageException if the type is quantised and OUT is a folder
   */
  static OutputFormat of(Path out, long maxShardBytes, @Nullable GgufType type) {
    if (isGguf(out)) {
      return new Gguf(type);
    }
    if (type != null && type.isQuantised()) {
      throw new UsageException(
          out
              + ": weights of a folder are f32, f16 or bf16; name a file OUT.gguf for "
              + type.shortName());
    }
    return new Folder(maxShardBytes, type == null ? null : type.dtype());
  }
}
