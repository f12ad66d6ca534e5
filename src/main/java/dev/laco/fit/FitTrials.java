package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.text.FitText;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.List;

/**
 * Quick fits of pruned models on the beginning of a text, each measured on the documents of the
 * whole text that no fit sees. What they predict tells which model is worth a fit on all of it.
 */
final class FitTrials implements AutoCloseable {
  private final RunningModel model;
  private final HeldOutTokens heldOut;
  private final CarryOver quick;

  /** Allocates buffers for quick fits. */
  FitTrials(RunningModel model, FitText text, QuickFits fits) {
    this.model = model;
    heldOut = new HeldOutTokens(model, fits.judged(text).chunks());
    quick =
        new CarryOver(
            model,
            new FitBlocks(model.original(), fits.seen(model.config(), text), text),
            CarryOver.Lambdas.DEFAULT,
            true);
  }

  /** The most bytes of all buffers. */
  static long bytes(Backend backend, ModelConfig config, FitText text) {
    FitText quick = QuickFits.LARGEST.seen(config, text);
    return HeldOutTokens.bytes(backend, config, QuickFits.LARGEST.judged(text).chunks())
        + CarryOver.bytes(backend, config, WholeText.of(quick))
        // The hidden states from which all fits go on.
        + (long) quick.tokens() * config.hiddenSize() * DType.F32.byteSize();
  }

  /** Mean negative log-likelihood of a held-out token in a model as it is, nats. */
  double nll(CollapsePlan plan) {
    return nll(plan, NewWeights.NONE);
  }

  /**
   * Mean negative log-likelihood of a held-out token in a model after a quick fit, nats.
   *
   * @param strength factor on the penalties, 1 by default
   */
  double nll(CollapsePlan plan, FitRule rule, double strength) {
    try (MemoryArena scratch = new MemoryArena()) {
      NewWeights tensors =
          quick.fit(plan, rule, strength, false, scratch, (done, total) -> {}).tensors();
      double nll = nll(plan, tensors);
      model.backend().release(List.copyOf(tensors.tensors().values()));
      return nll;
    }
  }

  private double nll(CollapsePlan plan, NewWeights tensors) {
    try (PlannedLayers layers = model.pruned(plan, tensors)) {
      return heldOut.nll(layers.model(), CarryOver.unchanged(plan));
    }
  }

  @Override
  public void close() {
    quick.close();
    heldOut.close();
  }
}
