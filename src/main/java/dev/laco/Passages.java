package dev.laco;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * Passages whose last word a model is to know.
 *
 * @param file objects a line; null for the built-in passages
 */
public record Passages(@Nullable Path file) {
  /** The passages that come with the engine. */
  public static final Passages BUILT_IN = new Passages(null);
}
