package dev.laco;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Where the passages are whose last words a model predicts.
 *
 * @param file a {@code .jsonl} file of objects like {@code {"text": "The cat sat on the", "last": "
 *     mat"}}; null for the built-in passages
 */
public record Passages(@Nullable Path file) {
  /** The passages that come with the engine. */
  public static final Passages BUILT_IN = new Passages(null);
}
