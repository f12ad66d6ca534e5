package dev.laco.prune;

import dev.laco.fit.FittedChoice;
import dev.laco.run.ModelJob;

/** The stages of a prune, by the names that {@link PruneJob#progress} has for them. */
public final class PruneStages {
  /** Candidates are scored. */
  public static final String SEARCH = "search";

  /** The best models are compared once more, of which none is fitted. */
  static final String CHOICE = FittedChoice.choiceStage("");

  /** The checkpoint is written. */
  public static final String WRITE = "write";

  /** The similarity of the pruned model is measured. */
  static final String SIMILARITY = "similarity";

  /** The perplexity of the original and of the pruned model is measured. */
  static final String PERPLEXITY = "perplexity";

  /** What events call the perplexity of the original. */
  static final String DENSE = ModelJob.DENSE;

  /** What events call the perplexity of the pruned model. */
  static final String PRUNED = "perplexity, pruned";

  /** Both models continue prompts. */
  static final String SAMPLES = "samples";

  private PruneStages() {}
}
