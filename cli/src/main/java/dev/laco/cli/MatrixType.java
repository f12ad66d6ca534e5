package dev.laco.cli;

import dev.laco.checkpoint.gguf.GgufType;
import java.util.Locale;

/** Element types that weights are written in. */
enum MatrixType {
  F32,
  F16,
  BF16,
  Q8_0;

  /** The type as GGUF files have it. */
  GgufType inGguf() {
    return GgufType.valueOf(name());
  }

  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }
}
