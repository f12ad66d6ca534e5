package dev.laco.fit;

import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.backend.TensorArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.LayerMix;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.report.FitReport;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Fits the remaining layers to do the work of the removed ones, too (docs/method.md, "Rules that
 * carry over what removed layers did"). The original and the pruned model run side by side over the
 * fit text, layer by layer. From the first gap on, weights of the pruned model are fitted by ridge
 * regression: their inputs are the pruned model's own hidden states, their targets the original's
 * hidden states at the same place.
 */
public final class CarryOver implements AutoCloseable {
  /**
   * The penalties {@code lambda} of {@link Ridge} for a fit text of {@link #TOKENS} tokens; with
   * {@code n} times as many tokens they are divided by the square root of {@code n}. The values
   * were measured: docs/method.md.
   *
   * @param inputs for maps that align inputs
   * @param output for output projections of attention
   * @param gap for the down projection before a gap
   * @param later for down projections of later layers
   */
  record Lambdas(double inputs, double output, double gap, double later) {
    private static final double TOKENS = 16_384;

    static final Lambdas DEFAULT = new Lambdas(0.2, 0.3, 0.15, 2);

    /** Penalties for a text of {@code tokens} tokens, times {@code factor}. */
    Lambdas scaled(double factor, int tokens) {
      double by = factor * Math.sqrt(TOKENS / tokens);
      return new Lambdas(by * inputs, by * output, by * gap, by * later);
    }
  }

  /**
   * Tokens that are solved for where training on all tokens follows, for each feed-forward channel:
   * the narrower a layer, the fewer numbers its solutions have.
   */
  private static final int SOLVED_PER_CHANNEL = 22;

  /** The most such tokens. */
  private static final int MOST_SOLVED = 32_768;

  /** The time in which a layer behind a gap is solved for, in forward passes of the layer. */
  private static final double LATER_PASSES = 6;

  /** The same of a layer before a gap. */
  private static final double GAP_PASSES = 2;

  private final Lambdas base;
  private final RunningModel model;
  private final CausalLm dense;
  private final FitBlocks blocks;
  private final Streams streams;
  private final Original original;
  private final Ridge ridge;
  private final Matrices matrices;
  private final Workbench bench;
  private final FinalNorm finalNorm;

  /** Holds hidden states that the fits of several plans share; null where there is one fit. */
  private final @Nullable TensorArena shared;

  /** Allocates buffers for a fit text; {@link #fit} may be called for any number of plans. */
  public CarryOver(RunningModel model, WholeText text) {
    this(model, new FitBlocks(model.original(), text), Lambdas.DEFAULT, false);
  }

  /**
   * The same.
   *
   * @param blocks the fit text, which the fits close
   * @param sharing whether hidden states are kept, from which the fits of several plans go on
   */
  CarryOver(RunningModel model, FitBlocks blocks, Lambdas lambdas, boolean sharing) {
    this.base = lambdas;
    this.model = model;
    Backend backend = model.backend();
    ModelConfig config = model.config();
    dense = model.original();
    this.blocks = blocks;
    streams = new Streams(backend, config, blocks.allTokens(), blocks.widest());
    original = new Original(dense, new CheckpointLayers(model), blocks, streams);
    ridge = new Ridge(backend, mostInputs(config), config.hiddenSize());
    matrices = new Matrices(backend, config.hiddenSize(), config.norm().offset());
    bench = new Workbench(backend, config, blocks, streams, original, ridge, matrices);
    finalNorm = new FinalNorm(bench, dense, model.weights());
    shared = sharing ? backend.arena() : null;
  }

  /** The most inputs that a matrix has which is solved for, or whose inputs are whitened. */
  private static long mostInputs(ModelConfig config) {
    return config.whyNoFit() == null
        ? Math.max(
            Math.max(config.intermediateSize(), config.widestAttended()), config.hiddenSize())
        : config.hiddenSize();
  }

  /**
   * The fitted tensors of a plan, and how each was fitted.
   *
   * @param curve held-out error of the first fitted down projection with more and more of the fit
   *     text, all with the same penalty; empty if no down projection is fitted
   * @param finalNorm factor on the final norm's weight, 1 if there is none
   * @param norms how norms were trained; null where they were not
   * @param leftAlone by layer, without duplicates
   */
  public record Result(
      NewWeights tensors,
      List<FitReport.Fitted> fitted,
      List<FitReport.Learned> curve,
      double finalNorm,
      FitReport.@Nullable Norms norms,
      List<FitReport.LeftAlone> leftAlone) {
    public Result {
      fitted = List.copyOf(fitted);
      curve = List.copyOf(curve);
      leftAlone =
          leftAlone.stream()
              .distinct()
              .sorted(Comparator.comparingInt(FitReport.LeftAlone::layer))
              .toList();
    }

    /** Nothing was fitted. */
    static Result nothing() {
      return new Result(NewWeights.NONE, List.of(), List.of(), 1, null, List.of());
    }
  }

  /** Is told how much of the work on the pruned model's layers is done. */
  @FunctionalInterface
  public interface Progress {
    void update(long done, long total);

    /**
     * Whether a layer behind the last gap is to be fitted; otherwise the fit ends.
     *
     * @param seconds that the layer in front of it took
     */
    default boolean fitsMore(double seconds) {
      return true;
    }
  }

  /** The chunks held out of the fit, on which fitted models are compared. */
  public static List<FitText.Chunk> heldOut(List<FitText.Chunk> chunks) {
    return FitBlocks.split(chunks, true);
  }

  /** Bytes of buffers for a fit text, and for the least-squares problem of one layer. */
  static long bytes(Backend backend, ModelConfig config, WholeText text) {
    List<FitText.Chunk> chunks = text.layers().chunks();
    long tokens = FitText.tokens(chunks);
    long width = config.hiddenSize();
    long most = mostInputs(config);
    int block = FitBlocks.largest(chunks);
    return Streams.bytes(
            config,
            tokens + FitText.tokens(text.norms()),
            FitBlocks.widest(backend, config, chunks))
        // What a device rounds the factors of cross products to.
        + block * (most + width) * DType.BF16.byteSize()
        // A layer is solved for, and then trained, from its input for the tokens solved for; norms
        // are trained in the end.
        + Math.max(
            Math.max(
                    Moments.bytes(most, width, 1)
                        + (Math.min(tokens, solvedTokens(config)) + 2L * block)
                            * width
                            * DType.F32.byteSize(),
                    Reconstruction.layerBytes(backend, config))
                + Reconstruction.bytes(backend, config, FitBlocks.largestStep(chunks)),
            NormTraining.bytes(backend, config, text.norms()))
        + Ridge.bytes(backend, most, width)
        + Matrices.bytes(most, width);
  }

  /**
   * The most layers of which a rule changes tensors.
   *
   * @param depth layers of the original
   * @param target layers of the pruned model; null if not known
   */
  public static int newLayers(FitRule rule, int depth, @Nullable Integer target) {
    if (!rule.changesGapsOnly() || rule.gap() == FitRule.Gap.SCALE) {
      return target == null ? depth - 1 : target;
    }
    return target == null ? depth / 2 : Math.min(target, depth - target);
  }

  /**
   * The time that fitting one layer takes, in forward passes of that layer over all tokens.
   *
   * @param tokens of the fit text
   */
  public static double layerPasses(FitRule rule, ModelConfig config, int tokens) {
    double solving = rule.later() ? LATER_PASSES : rule.solves() ? GAP_PASSES : 0;
    return rule.reconstructs()
        ? solving * Math.min(1, (double) solvedTokens(config) / tokens)
            + Reconstruction.layerPasses(tokens)
        : solving;
  }

  /**
   * The share of the layers behind the first gap that a rule is expected to fit, of one that does
   * not change layers at gaps alone.
   */
  public static double share(FitRule rule, int tokens) {
    return rule.reconstructs() ? Reconstruction.gaining(tokens) : 1;
  }

  /**
   * The time in which norms are trained behind the fit of the layers.
   *
   * @param tokens of the fit text
   * @param trained whether a training of all weights follows
   * @param behind layers behind the first gap
   * @param layer the time of one token in one layer
   * @param head the time of one token in the head
   */
  public static double normTime(
      FitRule rule,
      ModelConfig config,
      int tokens,
      boolean trained,
      double behind,
      double layer,
      double head) {
    return WholeText.trainsNorms(rule, trained)
        ? NormTraining.time(config, NormTraining.tokens(tokens), behind, layer, head)
        : 0;
  }

  /** How often a fit changes every weight of a layer that it trains; 0 where it trains none. */
  public static double steps(FitRule rule, int tokens) {
    return rule.reconstructs() ? Reconstruction.steps(tokens) : 0;
  }

  /**
   * Fits a plan's layers.
   *
   * @param strength factor on all penalties; 1 is the default
   * @param withHeldOut whether the weights are fitted to the held-out documents, too; false if
   *     fitted models are to be compared on these documents
   * @param memory in which the new tensors are allocated
   */
  public Result fit(
      CollapsePlan plan,
      FitRule rule,
      double strength,
      boolean withHeldOut,
      SegmentAllocator memory,
      Progress progress) {
    if (rule.gap() == FitRule.Gap.SCALE) {
      original.embed();
      try (PlannedLayers layers = model.pruned(plan, NewWeights.NONE)) {
        return new Compensation(bench).fit(plan, layers, memory, progress);
      }
    }
    try (Fit fit = new Fit(plan, rule, withHeldOut, memory, progress)) {
      return fit.run(strength);
    }
  }

  /** The fit of one plan. */
  private final class Fit implements AutoCloseable {
    private final CollapsePlan plan;
    private final FitRule rule;
    private final boolean withHeldOut;
    private final SegmentAllocator memory;
    private final Progress progress;
    private final List<FitReport.Fitted> fitted = new ArrayList<>();
    private final List<FitReport.Learned> curve = new ArrayList<>();
    private final List<FitReport.LeftAlone> leftAlone = new ArrayList<>();
    private final FittedTensors tensors = new FittedTensors(model.backend());
    private final boolean trainsNorms;

    /** The work, in forward passes of a layer over all tokens. */
    private long done;

    /** The work behind the last layer that is fitted. */
    private final long behind;

    /** Whether a layer is fitted. */
    private boolean changed;

    /** The first layer that is fitted. */
    private int first;

    /** The first layer behind it that is not fitted. */
    private int index;

    /** The layer of the original whose input the original's stream holds. */
    private int next;

    private Fit(
        CollapsePlan plan,
        FitRule rule,
        boolean withHeldOut,
        SegmentAllocator memory,
        Progress progress) {
      this.plan = plan;
      this.rule = rule;
      this.withHeldOut = withHeldOut;
      this.memory = memory;
      this.progress = progress;
      trainsNorms = rule.reconstructs() && blocks.allTokens() > blocks.tokens();
      behind = trainsNorms ? Math.round(NormTraining.passes(model.config(), mostFitted(plan))) : 0;
    }

    private Result run(double strength) {
      boolean scalesNorm;
      try (PlannedLayers layers = model.pruned(plan, NewWeights.NONE);
          Reconstruction reconstruction = rule.reconstructs() ? new Reconstruction(bench) : null) {
        List<FitBlocks.Block> solved = rule.reconstructs() ? solved() : blocks.list();
        fitLayers(
            layers,
            new LayerFit.Settings(
                rule,
                base.scaled(strength, FitBlocks.tokens(solved)),
                solved,
                withHeldOut,
                shared == null,
                reconstruction));
        // Models that are only compared keep the final norm: one factor hardly tells them apart.
        scalesNorm = changed && rule.reconstructs() && shared == null && !trainsNorms;
        if (scalesNorm) {
          runOn(plan, layers, index);
        }
      }
      double factor = scalesNorm ? finalNorm.factor() : 1;
      NewWeights all = tensors.all(layer -> leaveAlone(layer, fitted, leftAlone));
      if (scalesNorm) {
        all = all.with(finalNorm.scaled(factor, memory));
      }
      NormTraining.Result trained =
          trainsNorms && changed ? trainNorms(all) : NormTraining.Result.NOTHING;
      return new Result(
          all.with(trained.tensors()), fitted, curve, factor, trained.report(), leftAlone);
    }

    private void fitLayers(PlannedLayers layers, LayerFit.Settings settings) {
      if (shared == null) {
        original.embed();
      } else {
        next = unchanged(plan);
        original.start(next, model.backend(), shared);
      }
      long passes = Math.max(1, Math.round(layerPasses(rule, model.config(), blocks.tokens())));
      int gaps = behindLastGap(plan);
      // Layers behind the last gap stay as they are.
      int fits = rule.changesGapsOnly() ? gaps : plan.depth();
      boolean gains = true;
      double seconds = 0;
      for (index = next;
          index < fits && (index < gaps || (gains && progress.fitsMore(seconds)));
          index++) {
        long start = System.nanoTime();
        LayerMix mix = plan.layers().get(index);
        int end = plan.end(index);
        if (!changed && mix.isOriginal(next) && end == next + 1) {
          original.run(next, end);
          done++;
        } else {
          if (!changed) {
            streams.fork();
            first = index;
          }
          original.run(next, mix.base());
          LayerFit.Place place =
              new LayerFit.Place(index, layers.attention(index), mix.base(), end, changed);
          try (NewLayer layer = new NewLayer(bench, layers, index, memory)) {
            gains = new LayerFit(bench, settings, layer, place, fitted, curve, leftAlone).run();
            layer.addTo(tensors);
          }
          changed = true;
          done += passes;
          seconds = Seconds.since(start);
        }
        next = end;
        progress.update(done, done + (fits - index - 1L) * passes + behind);
      }
    }

    private NormTraining.Result trainNorms(NewWeights all) {
      List<FitBlocks.Block> text = blocks.wideFurther();
      original.run(next, original.depth(), text);
      for (FitBlocks.Block block : text) {
        dense.finalNorm(streams.dense(block), streams.dense(block));
      }
      try (PlannedLayers layers = model.pruned(plan, all);
          NormTraining training = new NormTraining(bench, layers, first)) {
        return training.run(
            memory, share -> progress.update(done + Math.round(share * behind), done + behind));
      }
    }

    @Override
    public void close() {
      tensors.close();
    }
  }

  /**
   * Runs layers that stay as they are, on the tokens by which the final norm is scaled.
   *
   * @param first index of the first of them in the pruned model
   */
  private void runOn(CollapsePlan plan, PlannedLayers layers, int first) {
    List<FitBlocks.Block> judges = finalNorm.judges();
    for (int index = first; index < plan.depth(); index++) {
      LayerAttention attention = layers.attention(index);
      LayerWeights dense = original.layer(plan.layers().get(index).base());
      judges.forEach(block -> streams.layer(dense, attention, streams.dense(block), block));
      LayerWeights own = layers.layer(index, blocks.widest());
      judges.forEach(block -> streams.layer(own, attention, streams.pruned(block), block));
    }
  }

  /** The most layers of a plan that a rule changes which does not change those at gaps alone. */
  public static int mostFitted(CollapsePlan plan) {
    return plan.depth() - unchanged(plan);
  }

  /** The number of layers in front that a fit of a plan leaves as they are. */
  static int unchanged(CollapsePlan plan) {
    // Layers may be missing behind the last one that is the original's.
    return Math.max(0, plan.sharedPrefix() - 1);
  }

  /** The number of layers up to the last one behind which layers are missing. */
  private static int behindLastGap(CollapsePlan plan) {
    int index = plan.depth();
    while (index > 0 && !plan.hasGapBehind(index - 1)) {
      index--;
    }
    return index;
  }

  private static int solvedTokens(ModelConfig config) {
    return (int) Math.min(MOST_SOLVED, (long) SOLVED_PER_CHANNEL * config.intermediateSize());
  }

  /** The tokens that are solved for where training on all follows; every eighth is held out. */
  private List<FitBlocks.Block> solved() {
    List<FitBlocks.Block> some = new ArrayList<>();
    int tokens = solvedTokens(model.config());
    for (boolean seen : new boolean[] {true, false}) {
      List<FitBlocks.Block> part =
          blocks.list().stream().filter(block -> block.seen() == seen).toList();
      some.addAll(FitBlocks.beginning(part, seen ? tokens / 8 * 7 : tokens / 8));
    }
    return some;
  }

  /** Moves the matrices of a layer from {@code fitted} to {@code leftAlone}. */
  private static void leaveAlone(
      int layer, List<FitReport.Fitted> fitted, List<FitReport.LeftAlone> leftAlone) {
    for (FitReport.Fitted matrix : List.copyOf(fitted)) {
      if (matrix.layer() == layer) {
        leftAlone.add(new FitReport.LeftAlone(layer, matrix.role()));
        fitted.remove(matrix);
      }
    }
  }

  @Override
  public void close() {
    if (shared != null) {
      shared.close();
    }
    matrices.close();
    ridge.close();
    streams.close();
    blocks.close();
  }
}
