package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.model.DType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Generating the code of a product may take longer than the product, so that products of a
 * training, whose steps have hundreds of lengths, must share it.
 */
class OneDnnTest {
  @ParameterizedTest
  @ValueSource(longs = {256, 399, 512, 1023})
  void productsOfAStepOfTrainingShareTheirCode(long tokens) {
    for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
      assertTrue(OneDnn.linear(dtype, tokens, 4096, 14336, 4096).sharesCode());
      assertTrue(OneDnn.gradient(dtype, tokens, 14336, 4096, 4096, true).sharesCode());
      assertTrue(OneDnn.cross(dtype, 14336, 4096, tokens).sharesCode());
      assertTrue(OneDnn.gram(dtype, 3840, 256, tokens, 4096).sharesCode());
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"F32", "BF16"})
  void productsOfAFewTokensHaveCodeOfTheirOwn(DType dtype) {
    assertFalse(OneDnn.linear(dtype, 255, 576, 1536, 576).sharesCode());
    assertFalse(OneDnn.cross(dtype, 576, 1536, 255).sharesCode());
  }

  @ParameterizedTest
  @ValueSource(longs = {1024, 2048})
  void onlyLargeWeightsInBf16HaveCodeForVeryManyTokens(long tokens) {
    assertFalse(OneDnn.linear(DType.BF16, tokens, 2048, 2048, 2048).sharesCode());
    assertTrue(OneDnn.linear(DType.BF16, tokens, 1536, 576, 1536).sharesCode());
    assertTrue(OneDnn.linear(DType.F32, tokens, 2048, 2048, 2048).sharesCode());
  }
}
