package dev.laco.model;

import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** The type of a tensor's elements in a file. */
public interface ElementType {
  /** The name in the description of the file's format ({@code BF16}, {@code Q4_K}). */
  String name();

  /**
   * The type in which the engine computes with such a tensor: its own, or F32 for a quantised type
   * whose values are computed when the tensor is read; null for a type that the engine only lists.
   */
  @Nullable DType dtype();

  /** Whether several elements share a scale, so that their bytes are no values themselves. */
  boolean isQuantised();

  /** Short lower-case name for people ({@code bf16}). */
  default String shortName() {
    return name().toLowerCase(Locale.ROOT);
  }
}
