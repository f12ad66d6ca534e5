package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.DType;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Makes the layers that are left carry over what the removed ones did (docs/method.md, "Rules that
 * carry over"). The original and the pruned model run side by side over the fit text, layer by
 * layer; from the first gap on, weights of the pruned model are fitted in closed form to what the
 * original has at the same place, on the inputs that they really get.
 */
public final class CarryOver implements AutoCloseable {
  /**
   * Regularisation, by what is fitted, where there are {@link #TOKENS} tokens; with the square root
   * of more it falls. Measured: docs/method.md.
   *
   * @param inputs of maps that align inputs
   * @param output of output projections
   * @param gap of down projections before a gap
   * @param later of those behind, and of a second one before a gap
   * @param steps of the Gauss-Newton steps of gate and up projections
   */
  record Lambdas(double inputs, double output, double gap, double later, double steps) {
    private static final double TOKENS = 16_384;

    static final Lambdas DEFAULT = new Lambdas(0.2, 0.3, 0.15, 2, 2);

    /** For so many tokens, that of what is solved at once times a factor. */
    Lambdas scaled(double factor, int tokens) {
      double more = Math.sqrt(TOKENS / tokens);
      double by = factor * more;
      return new Lambdas(by * inputs, by * output, by * gap, by * later, more * steps);
    }
  }

  private final Lambdas base;
  private final RunningModel model;
  private final FitBlocks blocks;
  private final Streams streams;
  private final Original original;
  private final Ridge ridge;
  private final Matrices matrices;
  private final Workbench bench;
  private final FinalNorm finalNorm;

  /** Buffers for a text; {@link #fit} uses them for any number of plans. */
  public CarryOver(RunningModel model, List<FitText.Window> windows) {
    this(model, windows, Lambdas.DEFAULT);
  }

  CarryOver(RunningModel model, List<FitText.Window> windows, Lambdas lambdas) {
    this.base = lambdas;
    this.model = model;
    Backend backend = model.backend();
    ModelConfig config = model.config();
    CausalLm dense = model.original();
    blocks = new FitBlocks(dense, windows);
    streams = new Streams(backend, config, blocks.tokens(), blocks.largest());
    original = new Original(dense, new CheckpointLayers(model), blocks, streams);
    ridge = new Ridge(backend, mostInputs(config), config.hiddenSize());
    matrices = new Matrices(backend, config.hiddenSize());
    bench = new Workbench(backend, config, blocks, streams, original, ridge, matrices);
    finalNorm = new FinalNorm(bench, dense, model.weights());
  }

  /** Outputs of all heads together. */
  static long heads(ModelConfig config) {
    return (long) config.numAttentionHeads() * config.headDim();
  }

  /** Of the matrices that are fitted. */
  private static long mostInputs(ModelConfig config) {
    return Math.max(Math.max(config.intermediateSize(), heads(config)), config.hiddenSize());
  }

  /**
   * One fitted matrix, for people; {@link LayerRole#GATE} stands for a step of gate and up.
   *
   * @param layer index in the pruned model
   * @param role which matrix; for the alignment of inputs, the norm in front
   * @param followers removed layers whose work the layer takes over
   * @param lambda chosen regularisation; 0 for the compensation of a gap, which needs none
   * @param error what is left on documents held out of the squared error before the fit; for a step
   *     of gate and up, on the documents of the fit
   */
  public record Fitted(int layer, LayerRole role, int followers, double lambda, double error) {}

  /**
   * A matrix that stays as it is, since there is no fit of it: what it multiplies is zero for every
   * token, or so large that sums are beyond f32.
   *
   * @param layer as {@link Fitted#layer}
   * @param role as {@link Fitted#role}
   */
  public record LeftAlone(int layer, LayerRole role) {}

  /**
   * A point of the learning curve.
   *
   * @param tokens in the equations
   * @param error as {@link Fitted#error}
   */
  public record Learned(int tokens, double error) {}

  /**
   * New tensors for a plan, and how each came about.
   *
   * @param curve what ever more of the text is worth to the first down projection, at the lambda
   *     chosen for all of it; empty where none is fitted
   * @param finalNorm factor on the final norm's weight, 1 where it stays
   * @param leftAlone each once
   */
  public record Result(
      NewWeights tensors,
      List<Fitted> fitted,
      List<Learned> curve,
      double finalNorm,
      List<LeftAlone> leftAlone) {
    public Result {
      fitted = List.copyOf(fitted);
      curve = List.copyOf(curve);
      leftAlone = leftAlone.stream().distinct().toList();
    }
  }

  /** Told how much of the work on the pruned model's layers is done. */
  @FunctionalInterface
  public interface Progress {
    void update(long done, long total);
  }

  /** The windows on which fitted models are compared: no equations are made of them. */
  public static List<FitText.Window> heldOut(List<FitText.Window> windows) {
    return FitBlocks.split(windows, true);
  }

  /** Bytes of buffers for a text, and for the equations of one layer. */
  public static long bytes(Backend backend, ModelConfig config, List<FitText.Window> windows) {
    long tokens = windows.stream().mapToLong(FitText.Window::length).sum();
    long width = config.hiddenSize();
    long most = mostInputs(config);
    int block = FitBlocks.largest(windows);
    return Streams.bytes(config, tokens, block)
        // What a device rounds the factors of cross products to.
        + block * (most + width) * DType.BF16.byteSize()
        + Moments.bytes(most, width, 1)
        + Ridge.bytes(backend, most, width)
        + Refinement.bytes(config, block)
        + Matrices.bytes(most, width);
  }

  /**
   * Layers of which a rule makes tensors anew, at most: those behind a gap, or before one.
   *
   * @param target layers that are left; null where that is not known
   */
  public static int newLayers(FitRule rule, int depth, @Nullable Integer target) {
    if (rule.later() || rule.gap() == FitRule.Gap.SCALE) {
      return target == null ? depth - 1 : target;
    }
    return target == null ? depth / 2 : Math.min(target, depth - target);
  }

  /**
   * Fits a plan's layers.
   *
   * @param strength factor on the regularisation of what is solved at once, 1 for the usual
   * @param withHeldOut whether what was held out to choose lambda counts in the end; not where
   *     fitted models are then compared on it
   * @param memory owner of the new tensors
   */
  public Result fit(
      CollapsePlan plan,
      FitRule rule,
      double strength,
      boolean withHeldOut,
      SegmentAllocator memory,
      Progress progress) {
    LayerFit.Settings settings =
        new LayerFit.Settings(rule, base.scaled(strength, blocks.tokens()), withHeldOut);
    List<Fitted> fitted = new ArrayList<>();
    List<Learned> curve = new ArrayList<>();
    List<LeftAlone> leftAlone = new ArrayList<>();
    NewWeights tensors = NewWeights.NONE;
    boolean changed = false;
    try (PlannedLayers layers = model.pruned(plan, NewWeights.NONE)) {
      original.embed();
      if (rule.gap() == FitRule.Gap.SCALE) {
        return new Compensation(bench).fit(plan, layers, memory, progress);
      }
      int next = 0;
      long done = 0;
      for (int index = 0; index < plan.depth(); index++) {
        LayerMix mix = plan.layers().get(index);
        int end = index + 1 < plan.depth() ? plan.layers().get(index + 1).base() : original.depth();
        if (!changed && mix.isOriginal(next) && end == next + 1) {
          original.run(next, end);
          next = end;
          done++;
          progress.update(done, done + (plan.depth() - index - 1L) * rule.layerPasses());
          continue;
        }
        if (!changed) {
          streams.fork();
        }
        original.run(next, mix.base());
        LayerFit.Place place =
            new LayerFit.Place(index, layers.slidingWindow(index), mix.base(), end, changed);
        try (NewLayer layer = new NewLayer(bench, layers, index, memory)) {
          new LayerFit(bench, settings, layer, place, fitted, curve, leftAlone).run();
          tensors = layer.addTo(tensors);
          if (!layer.isFinite()) {
            leaveAlone(index, fitted, leftAlone);
          }
        }
        changed = true;
        next = end;
        done += rule.layerPasses();
        progress.update(done, done + (plan.depth() - index - 1L) * rule.layerPasses());
      }
    }
    double factor = 1;
    if (rule.steps() && changed) {
      factor = finalNorm.factor();
      tensors = tensors.with(finalNorm.scaled(factor, memory));
    }
    return new Result(tensors, fitted, curve, factor, leftAlone);
  }

  /** Moves what was fitted of a layer to what was left alone. */
  private static void leaveAlone(int layer, List<Fitted> fitted, List<LeftAlone> leftAlone) {
    for (Fitted matrix : List.copyOf(fitted)) {
      if (matrix.layer() == layer) {
        leftAlone.add(new LeftAlone(layer, matrix.role()));
        fitted.remove(matrix);
      }
    }
  }

  @Override
  public void close() {
    matrices.close();
    ridge.close();
    streams.close();
    blocks.close();
  }
}
