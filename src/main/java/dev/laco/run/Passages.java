package dev.laco.run;

import dev.laco.Model;
import dev.laco.text.ClozeSet;
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

  /**
   * The passages as a model reads them.
   *
   * @throws dev.laco.BadInputException if they cannot be used with the model
   */
  public ClozeSet read(Model model) {
    return file == null ? ClozeSet.builtIn(model.target()) : ClozeSet.read(file, model.target());
  }
}
