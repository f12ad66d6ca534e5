package dev.laco.compare.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.backend.cuda.OnStandIn;
import dev.laco.collapse.FitRule;
import dev.laco.compare.CompareEvent;
import dev.laco.compare.CompareJob;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.Strategy;
import dev.laco.curve.CurveEvent;
import dev.laco.curve.CurveJob;
import dev.laco.curve.CurveRequest;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.TextSettings;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** The memory of the device that serves for one fitted model serves for the next one, too. */
@OnStandIn
@ExtendWith(FreshDevice.class)
class CudaCompareTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final DeviceSettings CUDA = DeviceSettings.of("cuda");

  @TempDir Path folder;

  private TextSettings texts() {
    return new TextSettings(
        Fixtures.tokens(folder, FIXTURE, "calib"), null, Fixtures.tokens(folder, FIXTURE, "eval"));
  }

  private FitSettings fit() {
    return new FitSettings(Fixtures.tokens(folder, FIXTURE, "eval"), null);
  }

  /** Counts the device's allocations whenever a model was measured. */
  private static Consumer<JobEvent> counting(List<Long> allocations) {
    return event -> {
      if (event instanceof CompareEvent.StrategyMeasured
          || event instanceof CurveEvent.PointMeasured) {
        allocations.add(EmulatedDevice.liveAllocations());
      }
    };
  }

  @Test
  void aComparisonHoldsTheFittedWeightsOfOneStrategyAtATime() {
    Strategy fitted = new Strategy(Strategy.Peer.LAST, FitRule.FIT);
    CompareRequest request =
        CompareRequest.of(Goal.layers(6))
            .withTexts(texts())
            .withFit(fit())
            .withStrategies(List.of(fitted, fitted, fitted));
    List<Long> allocations = new ArrayList<>();
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      new CompareJob(model, CUDA, request).listener(counting(allocations)).run();
    }
    assertEquals(3, allocations.size());
    assertEquals(allocations.get(1), allocations.get(2), allocations::toString);
  }

  @Test
  void aSweepHoldsTheFittedWeightsOfOneSizeAtATime() {
    CurveRequest request =
        new CurveRequest(
            Stream.of(7, 6, 5, 4).map(Goal::layers).toList(), "fit", texts(), fit(), List.of());
    List<Long> allocations = new ArrayList<>();
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      new CurveJob(model, CUDA, request, folder.resolve("curve"))
          .listener(counting(allocations))
          .run();
    }
    assertEquals(4, allocations.size());
    assertEquals(allocations.get(2), allocations.get(3), allocations::toString);
  }
}
