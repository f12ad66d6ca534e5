package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The tier of our kernels is the highest one, unless a lower one was measured to be faster. */
class TierRatesTest {
  @ParameterizedTest
  @CsvSource({
    "100, 250, 300, AVX512",
    "100, 305, 300, AVX512",
    "100, 320, 300, AVX512",
    "100, 340, 300, AVX2",
    "400, 340, 300, PORTABLE",
    "350, 340, 300, AVX2",
    "340, 320, 300, PORTABLE",
  })
  void aLowerTierIsTakenWhereItIsClearlyFaster(
      double portable, double avx2, double avx512, CpuTier taken) {
    assertEquals(
        taken,
        rates(Map.of(CpuTier.PORTABLE, portable, CpuTier.AVX2, avx2, CpuTier.AVX512, avx512))
            .taken());
  }

  @Test
  void onlyTiersOfTheProcessorAreTaken() {
    assertEquals(CpuTier.PORTABLE, rates(Map.of(CpuTier.PORTABLE, 100.0)).taken());
    assertEquals(CpuTier.AVX2, rates(Map.of(CpuTier.PORTABLE, 100.0, CpuTier.AVX2, 250.0)).taken());
  }

  @Test
  void everyTierOfTheProcessorIsMeasuredOncePerProcess() {
    TierRates rates = TierRates.measured();
    assertSame(rates, TierRates.measured());
    assertEquals(CpuTier.supported(), List.copyOf(rates.tokensPerSecond().keySet()));
    rates
        .tokensPerSecond()
        .values()
        .forEach(rate -> assertTrue(rate > 1e3 && rate < 1e9, rates::toString));
  }

  @Test
  void aBackendTakesTheTierThatWasMeasured() {
    TierRates rates = TierRates.measured();
    try (CpuBackend backend = CpuBackend.open(Compute.F32, 1)) {
      String name = rates.taken().displayName();
      assertTrue(backend.info().name().startsWith("cpu (" + name + ","), backend.info().name());
    }
  }

  private static TierRates rates(Map<CpuTier, Double> tokensPerSecond) {
    return new TierRates(new TreeMap<>(tokensPerSecond));
  }
}
