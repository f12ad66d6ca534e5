package dev.laco.backend;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A linear combination to be computed: {@code out = sum_j coefficients[j] * sources[j]}, summed in
 * the order of the sources.
 *
 * @param out destination; may be one of the sources
 * @param coefficients one for each source
 * @param sources tensors of the destination's shape, of any dtype
 */
public record TensorMix(Tensor out, double[] coefficients, List<Tensor> sources) {
  public TensorMix {
    sources = List.copyOf(sources);
    if (coefficients.length != sources.size() || sources.isEmpty()) {
      throw new IllegalArgumentException(
          coefficients.length + " coefficients for " + sources.size() + " sources");
    }
    for (Tensor source : sources) {
      if (source.rows() != out.rows() || source.columns() != out.columns()) {
        throw new IllegalArgumentException("a source has another shape than the destination");
      }
    }
  }

  /** Equal if the same tensors are mixed with the same coefficients. */
  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof TensorMix that
        && out.equals(that.out)
        && Arrays.equals(coefficients, that.coefficients)
        && sources.equals(that.sources);
  }

  @Override
  public int hashCode() {
    return Objects.hash(out, Arrays.hashCode(coefficients), sources);
  }
}
