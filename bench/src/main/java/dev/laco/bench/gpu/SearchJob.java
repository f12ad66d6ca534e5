package dev.laco.bench.gpu;

import dev.laco.Compute;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.Work;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.scoring.PassCost;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.Set;

/**
 * The whole search with the published settings for Llama-2-7B, on random weights of its shapes that
 * are on the device already: a prune copies them there in its first pass. The engine scores every
 * candidate; the decisions are those of the published run, since random weights would take others.
 */
final class SearchJob implements AutoCloseable {
  private static final DType DTYPE = DType.BF16;
  private static final int MERGE_LAYERS = 4;
  private static final int INTERVAL = 2;
  private static final int LOWEST = 1;

  private static final double THRESHOLD = 0.5;
  private static final Score ACCEPTED = new Score(List.of(1.0));
  private static final Score REJECTED = new Score(List.of(0.0));

  private final MadeUpWeights weights;
  private final ModelConfig config;
  private final CollapsePlan.Source source;
  private final CollapseSettings settings;
  private final Sizes sizes;
  private final Lookahead lookahead;
  private final SweepOptions options;

  /** What the published run kept: the merges at base 28 and at base 14. */
  private final Set<CollapsePlan> kept;

  /**
   * How long a search took.
   *
   * @param reference seconds for the original's own pass, buffers included
   * @param trials seconds for all trials
   * @param count of trials
   * @param work of both
   */
  record Result(double reference, double trials, int count, Work work) {
    double seconds() {
      return reference + trials;
    }
  }

  /** Makes the weights. */
  SearchJob(BenchDevice device, Sizes sizes, MergeRule rule, Lookahead lookahead) {
    this.sizes = sizes;
    this.config = sizes.config();
    this.lookahead = lookahead;
    int layers = config.numHiddenLayers();
    this.source = new CollapsePlan.Source(config.architecture().className(), layers, "sha256:none");
    this.settings =
        new CollapseSettings(MERGE_LAYERS, INTERVAL, LOWEST, layers, rule, rule.defaultNorms());
    this.weights = new MadeUpWeights(device, device.backend(Compute.AUTO), config, DTYPE);
    double passCost = PassCost.of(weights.backend(), DTYPE, sizes.tokens(), false);
    this.options =
        SweepOptions.of(lookahead.most(passCost, settings.bases())).withPassCost(passCost);
    CollapsePlan once = fold(CollapsePlan.identity(source), settings.firstBase());
    this.kept = Set.of(once, fold(once, settings.firstBase() / 2));
  }

  private CollapsePlan fold(CollapsePlan plan, int base) {
    int followers = Math.min(MERGE_LAYERS - 1, plan.depth() - base - 1);
    return plan.fold(base, followers, settings.rule(), settings.norms());
  }

  /** One search, from nothing but the weights. */
  Result run() {
    long start = System.nanoTime();
    try (SweepScorer engine =
        new SweepScorer(
            new RunningModel(weights.backend(), config, weights),
            source,
            sizes.packed(),
            options)) {
      // A score waits for the reference's pass.
      engine.score(List.of(CollapsePlan.identity(source)));
      long ready = System.nanoTime();
      int count =
          new LayerCollapse(settings, source, new Decided(engine), lookahead)
              .run(THRESHOLD, (trial, share) -> {})
              .trials()
              .size();
      long end = System.nanoTime();
      return new Result((ready - start) / 1e9, (end - ready) / 1e9, count, engine.work());
    }
  }

  /** Scores by the engine, decides as the published run did. */
  private final class Decided implements Scorer {
    private final SweepScorer engine;

    Decided(SweepScorer engine) {
      this.engine = engine;
    }

    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      for (Score score : engine.score(plans)) {
        if (!Double.isFinite(score.mean())) {
          throw new AssertionError("a similarity is " + score.mean());
        }
      }
      return plans.stream().map(plan -> kept.contains(plan) ? ACCEPTED : REJECTED).toList();
    }

    @Override
    public void accepted(CollapsePlan plan) {
      engine.accepted(plan);
    }

    @Override
    public void dropped(List<CollapsePlan> plans) {
      engine.dropped(plans);
    }

    @Override
    public double passCost() {
      return engine.passCost();
    }

    @Override
    public int sweeps() {
      return engine.sweeps();
    }
  }

  @Override
  public void close() {
    weights.close();
  }
}
