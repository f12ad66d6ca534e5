package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.Fixtures;
import dev.laco.scoring.BatchNoiseTest;
import dev.laco.scoring.BatchNoiseTest.Drift;
import java.util.Locale;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** How far means of this device move with the plans beside them, printed for whoever has a card. */
class CudaBatchNoiseTest {
  private static final String FIXTURE = "llama_tied_rope3";

  @ParameterizedTest
  @EnumSource(Compute.class)
  void meansMoveLessThanTheScorerSays(Compute compute) {
    EmulatedDevice.reset();
    try (CudaBackend backend = CudaBackend.open(compute, 0, CudaBinding.FFM)) {
      Drift drift =
          BatchNoiseTest.drift(
              backend, Fixtures.model(FIXTURE), Fixtures.tokens(FIXTURE, "calib").subList(0, 1));
      System.out.printf(
          Locale.ROOT,
          "batch noise of %s, %s: means move by up to %.1e, the scorer's bound is %.1e%n",
          backend.info().name(),
          compute,
          drift.largest(),
          drift.bound());
      assertTrue(drift.largest() <= drift.bound(), drift::toString);
    }
  }
}
