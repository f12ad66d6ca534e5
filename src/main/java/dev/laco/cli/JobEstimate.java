package dev.laco.cli;

import dev.laco.backend.Backend;
import dev.laco.fit.FitRule;
import dev.laco.model.ModelConfig;
import dev.laco.text.TextWindows.Window;
import java.util.List;

/**
 * About how many seconds the stages of a job take: matrix products, counted by their shapes, at the
 * rate of the device. It is what a person is told beforehand; {@link JobProgress} corrects it.
 */
final class JobEstimate {
  /** What is left of the rate of large products with attention, norms and moving data beside. */
  private static final double EFFICIENCY = 0.6;

  /** Bytes a second that are read, written and read again. */
  private static final double DISK = 300e6;

  /** Behind the first gap, which is about here, every layer is fitted by the dear rules. */
  private static final double BEHIND = 2.0 / 3;

  private final ModelConfig config;
  private final double rate;
  private final double layer;
  private final double head;

  JobEstimate(OpenModel model, Backend backend) {
    config = model.config();
    rate = EFFICIENCY * backend.operationsPerSecond(backend.productType(model.weightType()));
    layer = 2.0 * PruneRun.parametersPerLayer(model);
    head = 2.0 * config.vocabSize() * config.hiddenSize();
  }

  /** A model of so many layers runs over tokens and predicts the next. */
  double pass(long tokens, int layers) {
    return tokens * (layers * layer + head) / rate;
  }

  /** The same over a text. */
  double pass(List<Window> windows, int layers) {
    return pass(windows.stream().mapToLong(Window::length).sum(), layers);
  }

  /** Models are scored on tokens; each has about half of its layers in common with another. */
  double search(SearchOptions.Chosen search, long tokens) {
    int depth = config.numHiddenLayers();
    double layers = (depth + (search.target() == null ? depth / 2 : search.target())) / 4.0;
    double heads = search.objective().needsLanguage() ? head : 0;
    return search.models() * tokens * (layers * layer + heads) / rate;
  }

  /** The choice among models before a fit. */
  double choice(FitRule rule, int attempts, int strengths, int tokens, int target) {
    return attempts * fit(rule.atGapsOnly(), tokens, target)
        + strengths * fit(rule.withoutSteps(), tokens, target);
  }

  /** A fit on so many tokens: both models run, and some layers are fitted. */
  double fit(FitRule rule, int tokens, int target) {
    double fitted = rule.later() ? BEHIND * target : config.numHiddenLayers() - target;
    double passes = config.numHiddenLayers() + target + fitted * rule.layerPasses();
    return tokens * passes * layer / rate;
  }

  /** Bytes are read, written and verified. */
  static double write(long bytes) {
    return bytes / DISK;
  }
}
