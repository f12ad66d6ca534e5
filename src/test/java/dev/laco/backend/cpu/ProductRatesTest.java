package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.Compute;
import dev.laco.model.DType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** The type of products is the one that was measured to be quicker. */
class ProductRatesTest {
  @ParameterizedTest
  @CsvSource({"100, 300, BF16", "100, 99, BF16", "105, 100, BF16", "140, 100, F32", "100, 0, F32"})
  void f32IsTakenWhereItIsClearlyQuicker(double f32, double bf16, DType taken) {
    assertEquals(taken, new ProductRates(f32, bf16).faster());
  }

  @ParameterizedTest
  @EnumSource(CpuTier.class)
  void aTierIsMeasuredOncePerProcess(CpuTier tier) {
    assumeTrue(tier.isSupported());
    ProductRates rates = ProductRates.of(tier, new ProductRates.Sizes(300, 500));
    assertSame(rates, ProductRates.of(tier, new ProductRates.Sizes(300, 500)));
    assertTrue(rates.f32() > 1e8 && rates.f32() < 1e13, rates::toString);
    assertEquals(ProductRates.hasBf16(), rates.bf16() > 0, rates::toString);
  }

  /** They take microseconds, and the choice for one would be another one's chance. */
  @Test
  void smallModelsAreMeasuredAlike() {
    assertEquals(new ProductRates.Sizes(64, 192), new ProductRates.Sizes(32, 128));
  }

  @ParameterizedTest
  @EnumSource(CpuTier.class)
  void aBackendMultipliesInTheTypeThatIsFaster(CpuTier tier) {
    assumeTrue(tier.isSupported());
    try (CpuBackend backend = CpuBackend.open(Compute.AUTO, 2, tier);
        CpuBackend parity = CpuBackend.open(Compute.F32, 2, tier)) {
      DType taken = backend.productType(DType.BF16);
      DType other = taken == DType.BF16 ? DType.F32 : DType.BF16;
      assertTrue(
          1.2 * backend.operationsPerSecond(taken) > backend.operationsPerSecond(other),
          backend.describeProducts(DType.BF16));
      assertEquals(DType.F32, backend.productType(DType.F16));
      assertEquals(DType.F32, parity.productType(DType.BF16));
      assertEquals(0, backend.operationsPerSecond(DType.F16));
    }
  }
}
