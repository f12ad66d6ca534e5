package dev.laco.bench.gpu;

import dev.laco.backend.Compute;
import dev.laco.backend.cuda.BenchDevice;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import java.util.List;
import java.util.Set;

/**
 * The whole search with the published settings for Llama-2-7B, on random weights of its shapes. The
 * engine scores every candidate; the decisions are those of the published run, since random weights
 * would take others.
 */
final class SearchJob implements AutoCloseable {
  private static final DType DTYPE = DType.BF16;
  private static final int MERGE_LAYERS = 4;
  private static final int INTERVAL = 2;
  private static final int LOWEST = 1;

  /** The trials that the published run kept: at base 28 and at base 14. */
  private static final Set<Integer> KEPT = Set.of(0, 13);

  private static final double THRESHOLD = 0.5;

  private final MadeUpWeights weights;
  private final ModelConfig config;
  private final CollapsePlan.Source source;
  private final CollapseSettings settings;
  private final Sizes sizes;

  /**
   * How long a search took.
   *
   * @param reference seconds for the original's own pass, buffers included
   * @param trials seconds for all trials
   * @param count of trials
   * @param bytes of weights that reference and trials must read at least
   */
  record Result(double reference, double trials, int count, double bytes) {
    double seconds() {
      return reference + trials;
    }
  }

  /** Makes the weights. */
  SearchJob(BenchDevice device, Sizes sizes, MergeRule rule) {
    this.sizes = sizes;
    this.config = sizes.config();
    int layers = config.numHiddenLayers();
    this.source = new CollapsePlan.Source(config.architecture().className(), layers, "sha256:none");
    this.settings =
        new CollapseSettings(MERGE_LAYERS, INTERVAL, LOWEST, layers, rule, rule.defaultNorms());
    this.weights = new MadeUpWeights(device, device.backend(Compute.AUTO), config, DTYPE);
  }

  /** One search, from nothing but the weights. */
  Result run() {
    long start = System.nanoTime();
    try (SweepScorer engine =
        new SweepScorer(weights, config, weights, source, sizes.packed(), SweepOptions.of(1))) {
      // A score waits for the reference's pass.
      engine.score(List.of(CollapsePlan.identity(source)));
      long ready = System.nanoTime();
      Decided decided = new Decided(engine);
      int count =
          new LayerCollapse(settings, source, decided)
              .run(THRESHOLD, (trial, share) -> {})
              .trials()
              .size();
      long end = System.nanoTime();
      return new Result(
          (ready - start) / 1e9,
          (end - ready) / 1e9,
          count,
          bytes(CollapsePlan.identity(source), 0) + decided.bytes);
    }
  }

  /** Bytes of weights in the layers of a plan from one on. */
  private double bytes(CollapsePlan plan, int from) {
    double bytes = 0;
    for (LayerMix mix : plan.layers().subList(from, plan.depth())) {
      for (TensorSpec spec : config.architecture().layerTensors(config)) {
        int sources = mix.of(spec.role().group()).terms().size();
        bytes += (double) sources * spec.elements() * DTYPE.byteSize();
      }
    }
    return bytes;
  }

  /** Scores by the engine, decides as the published run did. */
  private final class Decided implements Scorer {
    private final SweepScorer engine;
    private int trials;
    private double bytes;

    Decided(SweepScorer engine) {
      this.engine = engine;
    }

    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      List<Score> scores = engine.score(plans);
      for (Score score : scores) {
        if (!Double.isFinite(score.mean())) {
          throw new AssertionError("a similarity is " + score.mean());
        }
      }
      return plans.stream().map(this::decide).toList();
    }

    private Score decide(CollapsePlan plan) {
      bytes += bytes(plan, plan.sharedPrefix());
      return new Score(List.of(KEPT.contains(trials++) ? 1.0 : 0.0));
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
