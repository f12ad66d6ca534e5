package dev.laco.backend.cuda;

import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * An environment variable that makes cuBLAS multiply f32 less exactly than the backend asks for.
 *
 * @param variable name of the variable
 * @param value value of the variable
 * @param effect what cuBLAS may do because of the variable
 */
public record ProductOverride(String variable, String value, String effect) {
  private static final int LONGEST_VALUE = 40;

  /** The variables of an environment that have such an effect. */
  public static List<ProductOverride> of(Map<String, String> environment) {
    return Stream.of(
            find(
                environment,
                "NVIDIA_TF32_OVERRIDE",
                "lets cuBLAS multiply f32 with the 10 bits of TF32"),
            find(
                environment,
                "CUBLAS_EMULATE_SINGLE_PRECISION",
                "lets cuBLAS emulate f32 products by those of bf16"))
        .filter(Objects::nonNull)
        .toList();
  }

  private static @Nullable ProductOverride find(
      Map<String, String> environment, String variable, String effect) {
    String value = environment.getOrDefault(variable, "").replaceAll("[^ -~]", "?");
    return value.isEmpty() || value.equals("0")
        ? null
        : new ProductOverride(
            variable, value.substring(0, Math.min(value.length(), LONGEST_VALUE)), effect);
  }
}
