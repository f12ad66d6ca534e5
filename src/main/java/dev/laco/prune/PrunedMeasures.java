package dev.laco.prune;

import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.checkpoint.StopTokens;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Score;
import dev.laco.measure.Continuations;
import dev.laco.measure.FidelityMeasure;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.PruneReport;
import dev.laco.report.Sample;
import dev.laco.run.EvaluationText;
import dev.laco.run.FiniteResults;
import dev.laco.scoring.ModelScore;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.function.Consumer;

/**
 * Measures a pruned model beside its original, as it is written: mixed tensors are in the dtype
 * that a loader reads.
 *
 * @param requireWanted throws where the job was cancelled
 */
record PrunedMeasures(
    Model model,
    RunningModel running,
    JobProgress progress,
    Consumer<JobEvent> events,
    Runnable requireWanted) {
  /** Mean negative log-likelihood of the model of a plan without new tensors, nats a token. */
  double nll(CollapsePlan plan, List<FitText.Chunk> chunks) {
    try (PlannedLayers layers = running.pruned(plan, NewWeights.NONE)) {
      return PerplexityMeasure.measure(
              layers.model(),
              TextChunks.whole(chunks.stream().map(FitText.Chunk::ids).toList()),
              (done, total) -> {})
          .meanNll();
    }
  }

  /** How close the final hidden states and predictions are to the original's, in every measure. */
  Score score(CollapsePlan plan, NewWeights tensors, PackedSequences sequences) {
    try (JobProgress.Stage _ = progress.begin(PruneStages.SIMILARITY);
        PlannedLayers layers = running.pruned(plan, tensors)) {
      Score score = ModelScore.of(running.original(), layers.model(), sequences);
      FiniteResults.require(model.directory(), score);
      return score;
    }
  }

  /** Perplexity and divergence on the evaluation text, and how both models continue its prompts. */
  PruneReport.Quality quality(CollapsePlan plan, NewWeights tensors, PruneTexts texts) {
    EvaluationText evaluation = texts.evaluation();
    if (evaluation == null) {
      return new PruneReport.NotMeasured(
          "the model has " + model.missingTokenizer() + " and no token-id lists were given");
    }
    String name = evaluation.name();
    CausalLm original = running.original();
    if (plan.isIdentity()) {
      Perplexity dense =
          evaluation.measure(progress, PruneStages.PERPLEXITY, model.directory(), original);
      events.accept(new JobEvent.Measured(PruneStages.DENSE, name, dense));
      return new PruneReport.Measured(name, dense, new Fidelity(1, 0, dense), List.of(), List.of());
    }
    try (PlannedLayers layers = running.pruned(plan, tensors);
        FidelityMeasure measure = evaluation.against(original, false)) {
      FidelityMeasure.Both both =
          evaluation.measure(progress, PruneStages.PERPLEXITY, measure, layers.model());
      FiniteResults.require(model.directory(), name, both.original());
      FiniteResults.require(
          "the model pruned from " + model.directory(), name, both.pruned().perplexity());
      events.accept(new JobEvent.Measured(PruneStages.DENSE, name, both.original()));
      events.accept(new JobEvent.Measured(PruneStages.PRUNED, name, both.pruned().perplexity()));
      requireWanted.run();
      return new PruneReport.Measured(
          name,
          both.original(),
          both.pruned(),
          both.byPosition(),
          samples(original, layers.model(), texts.prompts()));
    }
  }

  /** How both models continue prompts; nothing where there are none. */
  private List<Sample> samples(CausalLm original, CausalLm pruned, List<int[]> prompts) {
    if (prompts.isEmpty()) {
      return List.of();
    }
    try (JobProgress.Stage _ = progress.begin(PruneStages.SAMPLES)) {
      return model
          .tokenizer()
          .map(
              tokenizer ->
                  Continuations.of(
                      original, pruned, tokenizer, prompts, StopTokens.of(model.checkpoint())))
          .orElse(List.of());
    }
  }
}
