package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.collapse.FitRule;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.report.FitReport;
import dev.laco.transformer.LayerWeights;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Fits one layer of the pruned model. Before {@link #run} the streams of both models hold the input
 * of the layer, afterwards its output: the pruned model's that of the fitted layer, the original's
 * that of the last layer that the fitted one stands for.
 */
final class LayerFit {
  /**
   * By how much the training of a layer must make the error on the fit text smaller, relative to
   * that before, for the next layer to be worth a fit. What gains less on that text loses on other
   * text.
   */
  private static final double LEAST_GAIN = 0.03;

  private final Workbench bench;
  private final Backend backend;
  private final ModelConfig config;
  private final List<FitBlocks.Block> all;
  private final List<FitBlocks.Block> solved;
  private final Streams streams;
  private final Original original;
  private final Ridge ridge;
  private final Matrices matrices;
  private final Settings settings;
  private final NewLayer layer;
  private final LayerAttention attention;
  private final int index;
  private final int base;
  private final int end;
  private final boolean changed;
  private final List<FitReport.Fitted> fitted;
  private final List<FitReport.Learned> curve;
  private final List<FitReport.LeftAlone> leftAlone;

  /**
   * What is the same for all layers.
   *
   * @param solved the tokens that are solved for
   * @param withHeldOut whether the documents held out are fitted to, too
   * @param learns whether the learning curve is measured
   * @param reconstruction null where the rule has none
   */
  record Settings(
      FitRule rule,
      CarryOver.Lambdas lambdas,
      List<FitBlocks.Block> solved,
      boolean withHeldOut,
      boolean learns,
      @Nullable Reconstruction reconstruction) {}

  /**
   * The place of a layer in both models.
   *
   * @param index of the layer in the pruned model
   * @param attention what its attention has
   * @param base index of the first layer of the original that this layer stands for
   * @param end index after the last of these layers
   * @param changed whether an earlier layer of the pruned model differs from the original
   */
  record Place(int index, LayerAttention attention, int base, int end, boolean changed) {}

  /**
   * The fit of one layer.
   *
   * @param fitted every matrix that is fitted is added to this list
   * @param curve the learning curve is added to this list while it is empty
   * @param leftAlone every matrix for which there is no fit is added to this list
   */
  LayerFit(
      Workbench bench,
      Settings settings,
      NewLayer layer,
      Place place,
      List<FitReport.Fitted> fitted,
      List<FitReport.Learned> curve,
      List<FitReport.LeftAlone> leftAlone) {
    this.bench = bench;
    this.backend = bench.backend();
    this.config = bench.config();
    this.all = bench.blocks().wide();
    this.solved = settings.solved();
    this.streams = bench.streams();
    this.original = bench.original();
    this.ridge = bench.ridge();
    this.matrices = bench.matrices();
    this.settings = settings;
    this.layer = layer;
    this.attention = place.attention;
    this.index = place.index;
    this.base = place.base;
    this.end = place.end;
    this.changed = place.changed;
    this.fitted = fitted;
    this.curve = curve;
    this.leftAlone = leftAlone;
  }

  /**
   * Fits the layer.
   *
   * @return whether a fit of the next layer is worth its time
   */
  boolean run() {
    Reconstruction reconstruction = settings.reconstruction();
    if (reconstruction == null) {
      solve();
      LayerWeights weights = layer.weights();
      all.forEach(block -> streams.feedForward(weights, attention, streams.pruned(block), block));
      return true;
    }
    if (settings.rule().solves()) {
      // Training starts from the layer's input, which solving overwrites.
      try (TensorArena scratch = backend.arena()) {
        List<Tensor> inputs = new ArrayList<>();
        for (FitBlocks.Block block : solved) {
          Tensor input = scratch.allocate(DType.F32, block.tokens(), config.hiddenSize());
          backend.copy(streams.pruned(block), input);
          inputs.add(input);
        }
        solve();
        for (int i = 0; i < inputs.size(); i++) {
          backend.copy(inputs.get(i), streams.pruned(solved.get(i)));
        }
      }
    } else {
      original.attention(base);
      skipToEnd();
    }
    double error = reconstruction.run(layer, attention, settings.withHeldOut());
    fitted.add(new FitReport.Fitted(index, null, end - base - 1, 0, error));
    return error <= 1 - LEAST_GAIN;
  }

  /**
   * Solves for the layer's matrices. Afterwards the original's stream holds the output of the last
   * layer that this one stands for, and the pruned stream that of the layer's attention.
   */
  private void solve() {
    boolean later = changed && settings.rule().later();
    boolean gap = end > base + 1;
    if (later) {
      align(LayerRole.ATTENTION_INPUT_NORM, config.attentionInputRoles(attention.mixer()));
    }
    original.attention(base);
    if (later) {
      fitOutput();
    }
    LayerWeights weights = layer.weights();
    solved.forEach(block -> streams.attention(weights, attention, streams.pruned(block), block));
    if (gap && settings.rule().gap() == FitRule.Gap.CHANNELS) {
      select();
    } else if (later) {
      align(LayerRole.FEED_FORWARD_INPUT_NORM, List.of(LayerRole.GATE, LayerRole.UP));
      skipToEnd();
    } else {
      skipToEnd();
    }
    if (gap && settings.rule().gap() == FitRule.Gap.MAP) {
      fitMap();
    } else if (gap || later) {
      fitDown(gap ? settings.lambdas().gap() : settings.lambdas().later());
    }
  }

  /**
   * Runs the original, whose stream holds the output of the attention of layer {@code base}, to the
   * end of layer {@code end - 1}.
   */
  private void skipToEnd() {
    original.feedForward(base);
    original.run(base + 1, end);
  }

  private void report(LayerRole role, Ridge.Solution solution) {
    fitted.add(
        new FitReport.Fitted(index, role, end - base - 1, solution.lambda(), solution.error()));
  }

  private void leave(LayerRole role) {
    leftAlone.add(new FitReport.LeftAlone(index, role));
  }

  /**
   * Fits a linear map from the pruned model's normalised hidden states to the original's, and
   * multiplies it into the projections behind a norm, together with the norm's weight.
   */
  private void align(LayerRole normRole, List<LayerRole> behind) {
    try (Moments moments = new Moments(backend, config.hiddenSize(), config.hiddenSize(), 1);
        TensorArena scratch = backend.arena()) {
      gatherInputs(moments);
      gatherDifference(moments, 0);
      Ridge.Solution solution = solve(moments, 0, settings.lambdas().inputs());
      if (solution == null) {
        leave(normRole);
        return;
      }
      report(normRole, solution);
      Tensor norm = layer.weights().get(normRole);
      Tensor map = matrices.map(solution.change(), norm, scratch);
      for (LayerRole role : behind) {
        Tensor own = layer.weights().get(role);
        layer.use(role, own.dtype(), matrices.mapped(own, map, scratch));
      }
      layer.neutral(normRole, norm.dtype());
    }
  }

  private Ridge.@Nullable Solution solve(Moments moments, int target, double lambda) {
    return ridge.solve(moments, target, lambda, settings.withHeldOut());
  }

  private void gatherInputs(Moments moments) {
    for (FitBlocks.Block block : solved) {
      moments.addFeatures(streams.normed(block), !block.seen());
    }
  }

  private void gatherDifference(Moments moments, int target) {
    for (FitBlocks.Block block : solved) {
      moments.addTarget(target, streams.forAlignment(block), !block.seen());
    }
  }

  private void fitOutput() {
    try (Moments moments =
        new Moments(backend, config.attendedWidth(attention.mixer()), config.hiddenSize(), 1)) {
      LayerWeights before = layer.weights();
      for (FitBlocks.Block block : solved) {
        moments.add(streams.forOutput(before, attention, block), !block.seen());
      }
      change(LayerRole.OUTPUT, solve(moments, 0, settings.lambdas().output()));
    }
  }

  private void fitDown(double lambda) {
    LayerWeights before = layer.weights();
    try (Moments moments =
        new Moments(backend, config.intermediateSize(), config.hiddenSize(), 1)) {
      Consumer<FitBlocks.Block> gather =
          block -> moments.add(streams.forDown(before, attention, block), !block.seen());
      solved.forEach(gather);
      Ridge.Solution solution = solve(moments, 0, lambda);
      change(LayerRole.DOWN, solution);
      if (solution != null) {
        learn(moments, solution, gather);
      }
    }
  }

  /**
   * Fits one linear map behind the down projection and multiplies it into weight and bias: {@code
   * (I + D) W} (ReplaceMe, arXiv 2505.02819).
   */
  private void fitMap() {
    LayerWeights before = layer.weights();
    int width = config.hiddenSize();
    try (Moments moments = new Moments(backend, width, width, 1);
        TensorArena scratch = backend.arena()) {
      Consumer<FitBlocks.Block> gather =
          block -> moments.add(streams.forMap(before, attention, block), !block.seen());
      solved.forEach(gather);
      Ridge.Solution solution = solve(moments, 0, settings.lambdas().inputs());
      if (solution == null) {
        leave(LayerRole.DOWN);
        return;
      }
      report(LayerRole.DOWN, solution);
      Tensor bias = before.find(LayerRole.DOWN_BIAS);
      if (bias != null) {
        Tensor sum = matrices.wide(bias, scratch);
        Tensor more = scratch.allocate(DType.F32, 1, width);
        backend.linear(sum, solution.change(), null, more);
        backend.add(sum, more);
        layer.use(LayerRole.DOWN_BIAS, bias.dtype(), sum);
      }
      Tensor down = before.get(LayerRole.DOWN);
      Tensor sum = matrices.wide(down, scratch);
      Tensor more = scratch.allocate(DType.F32, down.rows(), down.columns());
      backend.linearTransposed(solution.change(), down, null, more);
      backend.add(sum, more);
      layer.use(LayerRole.DOWN, down.dtype(), sum);
      learn(moments, solution, gather);
    }
  }

  /**
   * Measures the learning curve of the first down projection that is fitted: its held-out error
   * with a quarter, with half and with all of the fit text. Fits that are only compared have none.
   */
  private void learn(Moments moments, Ridge.Solution solution, Consumer<FitBlocks.Block> gather) {
    if (changed || !curve.isEmpty() || !settings.learns()) {
      return;
    }
    List<FitBlocks.Block> seen = solved.stream().filter(FitBlocks.Block::seen).toList();
    int most = seen.getLast().to();
    moments.keepHeldOut();
    int parts = 4;
    for (FitBlocks.Block block : seen.subList(0, seen.size() - 1)) {
      if (parts == 1) {
        break;
      }
      gather.accept(block);
      if (block.to() >= most / parts) {
        double error = ridge.error(moments, 0, solution.lambda());
        if (Double.isFinite(error)) {
          curve.add(new FitReport.Learned(block.to(), error));
        }
        parts = block.to() >= most / 2 ? 1 : 2;
      }
    }
    curve.add(new FitReport.Learned(most, solution.error()));
  }

  /** Adds the fitted change to a matrix, or notes that there is none. */
  private void change(LayerRole role, Ridge.@Nullable Solution solution) {
    if (solution == null) {
      leave(role);
      return;
    }
    report(role, solution);
    try (TensorArena scratch = backend.arena()) {
      Tensor own = layer.weights().get(role);
      Tensor sum = matrices.wide(own, scratch);
      backend.add(sum, solution.change());
      layer.use(role, own.dtype(), sum);
    }
  }

  /**
   * Fills the layer's feed-forward channels with the best of those of all layers that this layer
   * stands for. With alignment, a linear map takes the layer's own input to the input that each
   * channel had in the original.
   */
  private void select() {
    List<Tensor> maps = new ArrayList<>();
    int count = end - base;
    try (TensorArena scratch = backend.arena()) {
      try (Moments moments =
          new Moments(
              backend,
              config.hiddenSize(),
              config.hiddenSize(),
              settings.rule().align() ? count : 0)) {
        if (settings.rule().align()) {
          gatherInputs(moments);
        }
        for (int i = 0; i < count; i++) {
          if (i > 0) {
            original.attention(base + i);
          }
          Ridge.@Nullable Solution solution = null;
          if (settings.rule().align() && (i > 0 || changed)) {
            gatherDifference(moments, i);
            solution = solve(moments, i, settings.lambdas().inputs());
            if (solution == null) {
              leave(LayerRole.FEED_FORWARD_INPUT_NORM);
            } else {
              report(LayerRole.FEED_FORWARD_INPUT_NORM, solution);
            }
          }
          Tensor norm = original.layer(base + i).get(LayerRole.FEED_FORWARD_INPUT_NORM);
          maps.add(matrices.map(solution == null ? null : solution.change(), norm, scratch));
          original.feedForward(base + i);
        }
      }
      new ChannelTransfer(bench, solved, layer, base, maps).run();
      layer.neutral(
          LayerRole.FEED_FORWARD_INPUT_NORM,
          layer.weights().get(LayerRole.FEED_FORWARD_INPUT_NORM).dtype());
    }
  }
}
