package dev.laco.bench.gpu;

import dev.laco.model.DType;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * A way to do an op.
 *
 * @param file source of the kernel, without suffix; empty for what is no kernel of ours alone
 * @param name of the kernel, or of what else does it
 * @param dtype of weights, or that the kernel calculates in
 */
record Variant(String file, String name, DType dtype) {
  /**
   * A kernel for several dtypes.
   *
   * @param pattern name with {@code %s} for the dtype
   */
  static List<Variant> of(String file, String pattern, DType... dtypes) {
    return Arrays.stream(dtypes)
        .map(
            dtype ->
                new Variant(file, String.format(Locale.ROOT, pattern, dtype.shortName()), dtype))
        .toList();
  }

  /** What calls libraries. */
  static List<Variant> ofLibrary(String pattern, DType... dtypes) {
    return of("", pattern, dtypes);
  }

  boolean isKernel() {
    return !file.isEmpty();
  }
}
