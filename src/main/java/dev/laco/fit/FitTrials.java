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
  /** The most tokens of the text that a quick fit sees. */
  private static final int TOKENS = 8_192;

  /** The most tokens that it is measured on. */
  private static final int JUDGED = 4_096;

  /**
   * The share of these tokens that tells layers apart; strengths, of which models differ less, take
   * all.
   */
  private static final int PART = 2;

  private final RunningModel model;
  private final HeldOutTokens heldOut;
  private final CarryOver quick;

  /**
   * Allocates buffers for quick fits.
   *
   * @param strengths whether strengths of a rule are compared, too
   */
  FitTrials(RunningModel model, FitText text, boolean strengths) {
    this.model = model;
    heldOut = new HeldOutTokens(model, judges(text, strengths).chunks());
    quick = new CarryOver(model, seen(text, strengths).chunks(), CarryOver.Lambdas.DEFAULT, true);
  }

  /** Tokens of a text that a quick fit sees. */
  static int tokens(FitText text, boolean strengths) {
    return seen(text, strengths).tokens();
  }

  /** Tokens of a text that models are measured on. */
  static int judgedTokens(FitText text, boolean strengths) {
    return judges(text, strengths).tokens();
  }

  private static FitText seen(FitText text, boolean strengths) {
    return text.limit(strengths ? TOKENS : TOKENS / PART);
  }

  private static FitText judges(FitText text, boolean strengths) {
    return new FitText(text.name(), FitBlocks.split(text.chunks(), true))
        .limit(strengths ? JUDGED : JUDGED / PART);
  }

  /** The most bytes of all buffers. */
  static long bytes(Backend backend, ModelConfig config, FitText text) {
    FitText quick = seen(text, true);
    return HeldOutTokens.bytes(backend, config, judges(text, true).chunks())
        + CarryOver.bytes(backend, config, quick.chunks())
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
