package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSource;
import dev.laco.scoring.PlannedLayers;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.LayerWeights;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
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
   * @param later of those behind
   */
  record Lambdas(double inputs, double output, double gap, double later) {
    private static final double TOKENS = 16_384;

    static final Lambdas DEFAULT = new Lambdas(0.1, 0.3, 0.1, 1);

    Lambdas scaled(double factor, int tokens) {
      double by = factor * Math.sqrt(TOKENS / tokens);
      return new Lambdas(by * inputs, by * output, by * gap, by * later);
    }
  }

  private final Lambdas base;
  private final Backend backend;
  private final ModelConfig config;
  private final TensorSource source;
  private final CheckpointLayers originals;
  private final FitBlocks blocks;
  private final Streams streams;
  private final Original original;
  private final Ridge ridge;
  private final TensorArena arena;

  /** {@code [d, d]}. */
  private final Tensor identity;

  /** Buffers for a text; {@link #fit} uses them for any number of plans. */
  public CarryOver(
      Backend backend, ModelConfig config, TensorSource source, List<FitText.Window> windows) {
    this(backend, config, source, windows, Lambdas.DEFAULT);
  }

  CarryOver(
      Backend backend,
      ModelConfig config,
      TensorSource source,
      List<FitText.Window> windows,
      Lambdas lambdas) {
    this.base = lambdas;
    this.backend = backend;
    this.config = config;
    this.source = source;
    originals = new CheckpointLayers(backend, config, source);
    CausalLm model = CausalLm.of(backend, config, source);
    blocks = new FitBlocks(model, windows);
    streams = new Streams(backend, config, blocks.tokens(), blocks.largest());
    original = new Original(model, originals, blocks, streams);
    int width = config.hiddenSize();
    ridge = new Ridge(backend, mostInputs(config), width);
    arena = backend.arena();
    identity = arena.allocate(DType.F32, width, width);
    float[] row = new float[width];
    for (int i = 0; i < width; i++) {
      row[i] = 1;
      backend.upload(row, identity.slice(i, i + 1));
      row[i] = 0;
    }
  }

  private static long heads(ModelConfig config) {
    return (long) config.numAttentionHeads() * config.headDim();
  }

  /** Of the matrices that are fitted. */
  private static long mostInputs(ModelConfig config) {
    return Math.max(Math.max(config.intermediateSize(), heads(config)), config.hiddenSize());
  }

  /**
   * One fitted matrix, for people.
   *
   * @param layer index in the pruned model
   * @param role which matrix; for the alignment of inputs, the norm in front
   * @param followers removed layers whose work the layer takes over
   * @param lambda chosen regularisation; 0 for the compensation of a gap, which needs none
   * @param error what is left on documents held out of the squared error before the fit
   */
  public record Fitted(int layer, LayerRole role, int followers, double lambda, double error) {}

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
   */
  public record Result(NewWeights tensors, List<Fitted> fitted, List<Learned> curve) {}

  /** Told how many layers of the pruned model are done. */
  @FunctionalInterface
  public interface Progress {
    void update(long done, long total);
  }

  /** The windows on which fitted models are compared: no equations are made of them. */
  public static List<FitText.Window> heldOut(List<FitText.Window> windows) {
    return FitBlocks.split(windows, true);
  }

  /** Bytes of buffers for a text, and for the equations of one layer. */
  public static long bytes(ModelConfig config, List<FitText.Window> windows) {
    long tokens = windows.stream().mapToLong(FitText.Window::length).sum();
    long width = config.hiddenSize();
    long most = mostInputs(config);
    int block = FitBlocks.largest(windows);
    return Streams.bytes(config, tokens, block)
        // What a device rounds the factors of cross products to.
        + block * (most + width) * DType.BF16.byteSize()
        + Moments.bytes(most, width, 1)
        + Ridge.bytes(most, width)
        // Identity, and a matrix while it is made anew.
        + (width * width + 3 * most * width) * DType.F32.byteSize();
  }

  /**
   * Fits a plan's layers.
   *
   * @param strength factor on all regularisation, 1 for the usual
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
    Lambdas lambdas = base.scaled(strength, blocks.tokens());
    List<Fitted> fitted = new ArrayList<>();
    List<Learned> curve = new ArrayList<>();
    NewWeights tensors = NewWeights.NONE;
    try (PlannedLayers layers = new PlannedLayers(backend, config, source, plan, dtype -> dtype)) {
      original.embed();
      if (rule == FitRule.COMPENSATE) {
        return new Compensation(backend, config, blocks, streams, original)
            .fit(plan, layers, memory, progress);
      }
      boolean changed = false;
      int next = 0;
      for (int index = 0; index < plan.depth(); index++) {
        LayerMix mix = plan.layers().get(index);
        int end =
            index + 1 < plan.depth() ? plan.layers().get(index + 1).base() : originals.depth();
        if (!changed && mix.isOriginal(next) && end == next + 1) {
          original.run(next, end);
          next = end;
          progress.update(index + 1, plan.depth());
          continue;
        }
        if (!changed) {
          streams.fork();
        }
        original.run(next, mix.base());
        int current = index;
        NewLayer layer =
            new NewLayer(
                backend, config, index, () -> layers.layer(current, blocks.largest()), memory);
        new Step(
                rule,
                lambdas,
                withHeldOut,
                layer,
                layers.slidingWindow(index),
                index,
                mix.base(),
                end,
                changed,
                fitted,
                curve)
            .run();
        tensors = layer.addTo(tensors);
        changed = true;
        next = end;
        progress.update(index + 1, plan.depth());
      }
    }
    return new Result(tensors, List.copyOf(fitted), List.copyOf(curve));
  }

  /** What one layer of the pruned model becomes. */
  private final class Step {
    private final FitRule rule;
    private final Lambdas lambdas;
    private final boolean withHeldOut;
    private final NewLayer layer;
    private final int window;
    private final int index;
    private final int base;
    private final int end;
    private final boolean changed;
    private final List<Fitted> fitted;
    private final List<Learned> curve;

    /**
     * A layer that stands for the original's {@code base} to {@code end}, exclusive.
     *
     * @param changed whether its input differs from the original's
     */
    Step(
        FitRule rule,
        Lambdas lambdas,
        boolean withHeldOut,
        NewLayer layer,
        int window,
        int index,
        int base,
        int end,
        boolean changed,
        List<Fitted> fitted,
        List<Learned> curve) {
      this.rule = rule;
      this.lambdas = lambdas;
      this.withHeldOut = withHeldOut;
      this.layer = layer;
      this.window = window;
      this.index = index;
      this.base = base;
      this.end = end;
      this.changed = changed;
      this.fitted = fitted;
      this.curve = curve;
    }

    void run() {
      boolean later = changed && rule.later();
      boolean gap = end > base + 1;
      if (later) {
        alignAttention();
      }
      original.attention(base);
      if (later) {
        fitOutput();
      }
      LayerWeights attention = layer.weights();
      blocks
          .list()
          .forEach(block -> streams.attention(attention, window, streams.pruned(block), block));
      if (gap && rule.select()) {
        select();
      } else if (later) {
        alignFeedForward();
      } else {
        skipTo(end);
      }
      if (gap && rule == FitRule.MAP) {
        fitMap();
      } else if (gap || later) {
        fitDown();
      }
      LayerWeights feedForward = layer.weights();
      blocks.list().forEach(block -> streams.feedForward(feedForward, streams.pruned(block)));
    }

    /** Runs the original from behind the attention of {@code base} to the input of {@code to}. */
    private void skipTo(int to) {
      original.feedForward(base);
      original.run(base + 1, to);
    }

    private void report(LayerRole role, Ridge.Solution solution) {
      fitted.add(new Fitted(index, role, end - base - 1, solution.lambda(), solution.error()));
    }

    /** Queries, keys and values see what the original's would, as far as a linear map can say. */
    private void alignAttention() {
      try (Moments moments = new Moments(backend, config.hiddenSize(), config.hiddenSize(), 1);
          TensorArena scratch = backend.arena()) {
        gatherInputs(moments);
        gatherDifference(moments, 0);
        Ridge.Solution solution = ridge.solve(moments, 0, lambdas.inputs, withHeldOut);
        report(LayerRole.INPUT_NORM, solution);
        Tensor norm = layer.weights().get(LayerRole.INPUT_NORM);
        Tensor map = map(solution.change(), norm, scratch);
        for (LayerRole role : List.of(LayerRole.QUERY, LayerRole.KEY, LayerRole.VALUE)) {
          Tensor own = layer.weights().get(role);
          layer.use(role, own.dtype(), mapped(own, map, scratch));
        }
        layer.ones(LayerRole.INPUT_NORM, norm.dtype());
      }
    }

    private void alignFeedForward() {
      try (Moments moments = new Moments(backend, config.hiddenSize(), config.hiddenSize(), 1);
          TensorArena scratch = backend.arena()) {
        gatherInputs(moments);
        gatherDifference(moments, 0);
        Ridge.Solution solution = ridge.solve(moments, 0, lambdas.inputs, withHeldOut);
        report(LayerRole.POST_ATTENTION_NORM, solution);
        Tensor norm = layer.weights().get(LayerRole.POST_ATTENTION_NORM);
        Tensor map = map(solution.change(), norm, scratch);
        for (LayerRole role : List.of(LayerRole.GATE, LayerRole.UP)) {
          Tensor own = layer.weights().get(role);
          layer.use(role, own.dtype(), mapped(own, map, scratch));
        }
        layer.ones(LayerRole.POST_ATTENTION_NORM, norm.dtype());
      }
      skipTo(end);
    }

    private void gatherInputs(Moments moments) {
      for (FitBlocks.Block block : blocks.list()) {
        moments.addFeatures(streams.normed(block), !block.seen());
      }
    }

    private void gatherDifference(Moments moments, int target) {
      for (FitBlocks.Block block : blocks.list()) {
        Tensor normed = streams.normed(block);
        moments.addTarget(target, normed, streams.normedDifference(normed, block), !block.seen());
      }
    }

    private void fitOutput() {
      try (Moments moments = new Moments(backend, heads(config), config.hiddenSize(), 1)) {
        LayerWeights before = layer.weights();
        for (FitBlocks.Block block : blocks.list()) {
          Tensor heads = streams.heads(before, window, block);
          moments.add(heads, streams.lackAfterOutput(heads, block), !block.seen());
        }
        change(LayerRole.OUTPUT, ridge.solve(moments, 0, lambdas.output, withHeldOut));
      }
    }

    private void fitDown() {
      LayerWeights before = layer.weights();
      try (Moments moments =
          new Moments(backend, config.intermediateSize(), config.hiddenSize(), 1)) {
        Consumer<FitBlocks.Block> gather =
            block -> {
              Tensor channels = streams.channels(before, block);
              Tensor lack = streams.lackAfterChannels(before, channels, block);
              moments.add(channels, lack, !block.seen());
            };
        blocks.list().forEach(gather);
        Ridge.Solution solution =
            ridge.solve(moments, 0, end > base + 1 ? lambdas.gap : lambdas.later, withHeldOut);
        change(LayerRole.DOWN, solution);
        learn(moments, solution, gather);
      }
    }

    /**
     * The down projection, and its bias, behind one linear map of what they say: {@code (I + D) W}.
     */
    private void fitMap() {
      LayerWeights before = layer.weights();
      int width = config.hiddenSize();
      try (Moments moments = new Moments(backend, width, width, 1);
          TensorArena scratch = backend.arena()) {
        Consumer<FitBlocks.Block> gather =
            block -> {
              Tensor said = streams.contribution(before, block);
              moments.add(said, streams.lackAfterOutput(said, block), !block.seen());
            };
        blocks.list().forEach(gather);
        Ridge.Solution solution = ridge.solve(moments, 0, lambdas.inputs, withHeldOut);
        report(LayerRole.DOWN, solution);
        Tensor bias = before.find(LayerRole.DOWN_BIAS);
        if (bias != null) {
          Tensor sum = wide(bias, scratch);
          Tensor more = scratch.allocate(DType.F32, 1, width);
          backend.linear(sum, solution.change(), null, more);
          backend.add(sum, more);
          layer.use(LayerRole.DOWN_BIAS, bias.dtype(), sum);
        }
        Tensor down = before.get(LayerRole.DOWN);
        Tensor sum = wide(down, scratch);
        Tensor transposed = scratch.allocate(DType.F32, width, width);
        backend.linear(identity, solution.change(), null, transposed);
        backend.crossProduct(transposed, wide(down, scratch), sum);
        layer.use(LayerRole.DOWN, down.dtype(), sum);
        learn(moments, solution, gather);
      }
    }

    /** What half of the text and a quarter were worth; of the first down projection alone. */
    private void learn(Moments moments, Ridge.Solution solution, Consumer<FitBlocks.Block> gather) {
      if (changed) {
        return;
      }
      List<FitBlocks.Block> seen = blocks.list().stream().filter(FitBlocks.Block::seen).toList();
      int all = seen.getLast().to();
      moments.keepHeldOut();
      int parts = 4;
      for (FitBlocks.Block block : seen.subList(0, seen.size() - 1)) {
        if (parts == 1) {
          break;
        }
        gather.accept(block);
        if (block.to() >= all / parts) {
          curve.add(new Learned(block.to(), ridge.error(moments, 0, solution.lambda())));
          parts = block.to() >= all / 2 ? 1 : 2;
        }
      }
      curve.add(new Learned(all, solution.error()));
    }

    /** Adds a solution to a matrix. */
    private void change(LayerRole role, Ridge.Solution solution) {
      report(role, solution);
      try (TensorArena scratch = backend.arena()) {
        Tensor own = layer.weights().get(role);
        Tensor sum = wide(own, scratch);
        backend.add(sum, solution.change());
        layer.use(role, own.dtype(), sum);
      }
    }

    /**
     * Fills the layer's channels with the best of those of all layers that it stands for, each fed
     * with the layer's own input, aligned to what it would have seen.
     */
    private void select() {
      List<Tensor> maps = new ArrayList<>();
      List<double[]> scores = new ArrayList<>();
      int count = end - base;
      try (TensorArena scratch = backend.arena()) {
        try (Moments moments =
            new Moments(
                backend, config.hiddenSize(), config.hiddenSize(), rule.align() ? count : 0)) {
          if (rule.align()) {
            gatherInputs(moments);
          }
          for (int i = 0; i < count; i++) {
            if (i > 0) {
              original.attention(base + i);
            }
            Ridge.@Nullable Solution solution = null;
            if (rule.align() && (i > 0 || changed)) {
              gatherDifference(moments, i);
              solution = ridge.solve(moments, i, lambdas.inputs, withHeldOut);
              report(LayerRole.POST_ATTENTION_NORM, solution);
            }
            Tensor norm = originals.layer(base + i, 1).get(LayerRole.POST_ATTENTION_NORM);
            maps.add(map(solution == null ? null : solution.change(), norm, scratch));
            original.feedForward(base + i);
          }
        }
        for (int i = 0; i < count; i++) {
          scores.add(scores(i, maps.get(i)));
        }
        ChannelSelection selection = ChannelSelection.best(scores, config.intermediateSize());
        take(LayerRole.GATE, selection, maps);
        take(LayerRole.UP, selection, maps);
        takeColumns(selection);
        takeBias(LayerRole.GATE_BIAS, selection);
        takeBias(LayerRole.UP_BIAS, selection);
        layer.ones(
            LayerRole.POST_ATTENTION_NORM,
            layer.weights().get(LayerRole.POST_ATTENTION_NORM).dtype());
      }
    }

    /** {@code sqrt(sum_t w_t a_t^2)} times the norm of its down column, of each channel. */
    private double[] scores(int follower, Tensor map) {
      LayerWeights own = originals.layer(base + follower, blocks.largest());
      try (TensorArena scratch = backend.arena()) {
        Tensor gate = own.get(LayerRole.GATE);
        Tensor up = own.get(LayerRole.UP);
        Tensor unit = scratch.allocate(DType.F32, 1, config.hiddenSize());
        float[] one = new float[config.hiddenSize()];
        java.util.Arrays.fill(one, 1);
        backend.upload(one, unit);
        LayerWeights aligned =
            own.with(
                Map.of(
                    LayerRole.GATE, narrow(mapped(gate, map, scratch), gate.dtype(), scratch),
                    LayerRole.UP, narrow(mapped(up, map, scratch), up.dtype(), scratch),
                    LayerRole.POST_ATTENTION_NORM, unit));
        Tensor power = scratch.allocate(DType.F32, 1, config.intermediateSize());
        for (FitBlocks.Block block : blocks.list()) {
          Tensor channels = streams.channels(aligned, block);
          streams.scale(channels, block);
          backend.addSquares(channels, power);
        }
        Tensor columns = scratch.allocate(DType.F32, 1, config.intermediateSize());
        backend.addSquares(wide(own.get(LayerRole.DOWN), scratch), columns);
        float[] powers = new float[config.intermediateSize()];
        float[] norms = powers.clone();
        backend.download(power, powers);
        backend.download(columns, norms);
        double[] scores = new double[powers.length];
        for (int i = 0; i < scores.length; i++) {
          scores[i] = Math.sqrt((double) powers[i] * norms[i]);
        }
        return scores;
      }
    }

    private void eachLayer(ChannelSelection selection, Consumer<Integer> task) {
      for (int i = 0; i < end - base; i++) {
        int follower = i;
        if (selection.kept().stream().anyMatch(channel -> channel.layer() == follower)) {
          task.accept(follower);
        }
      }
    }

    private void take(LayerRole role, ChannelSelection selection, List<Tensor> maps) {
      DType dtype = originals.layer(base, 1).get(role).dtype();
      HostTensor taken = layer.allocate(role, dtype);
      float[] row = new float[config.hiddenSize()];
      eachLayer(
          selection,
          follower -> {
            try (TensorArena scratch = backend.arena()) {
              Tensor own = originals.layer(base + follower, 1).get(role);
              Tensor mapped = mapped(own, maps.get(follower), scratch);
              for (int i = 0; i < selection.kept().size(); i++) {
                ChannelSelection.Channel channel = selection.kept().get(i);
                if (channel.layer() == follower) {
                  backend.download(mapped.slice(channel.index(), channel.index() + 1), row);
                  Values.store(row, taken, (long) i * row.length);
                }
              }
            }
          });
      layer.use(role, taken);
    }

    private void takeColumns(ChannelSelection selection) {
      DType dtype = originals.layer(base, 1).get(LayerRole.DOWN).dtype();
      HostTensor taken = layer.allocate(LayerRole.DOWN, dtype);
      int width = config.intermediateSize();
      float[] row = new float[width];
      eachLayer(
          selection,
          follower -> {
            try (TensorArena scratch = backend.arena()) {
              Tensor own = wide(originals.layer(base + follower, 1).get(LayerRole.DOWN), scratch);
              for (int output = 0; output < config.hiddenSize(); output++) {
                backend.download(own.slice(output, output + 1), row);
                for (int i = 0; i < width; i++) {
                  ChannelSelection.Channel channel = selection.kept().get(i);
                  if (channel.layer() == follower) {
                    Values.store(
                        new float[] {row[channel.index()]}, taken, (long) output * width + i);
                  }
                }
              }
            }
          });
      layer.use(LayerRole.DOWN, taken);
    }

    private void takeBias(LayerRole role, ChannelSelection selection) {
      if (layer.weights().find(role) == null) {
        return;
      }
      HostTensor taken = layer.allocate(role, originals.layer(base, 1).get(role).dtype());
      float[] values = new float[config.intermediateSize()];
      eachLayer(
          selection,
          follower -> {
            try (TensorArena scratch = backend.arena()) {
              backend.download(
                  wide(originals.layer(base + follower, 1).get(role), scratch), values);
              for (int i = 0; i < values.length; i++) {
                ChannelSelection.Channel channel = selection.kept().get(i);
                if (channel.layer() == follower) {
                  Values.store(new float[] {values[channel.index()]}, taken, i);
                }
              }
            }
          });
      layer.use(role, taken);
    }
  }

  /**
   * {@code ((I + change)^T diag(norm)) [d, d]}: what a matrix behind the norm is multiplied by so
   * that it does its own norm's work, and sees its aligned input.
   *
   * @param change null for none
   */
  private Tensor map(@Nullable Tensor change, Tensor norm, TensorArena scratch) {
    int width = config.hiddenSize();
    Tensor sum = scratch.allocate(DType.F32, width, width);
    backend.copy(identity, sum);
    if (change != null) {
      backend.add(sum, change);
    }
    backend.scaledDifference(sum, null, wide(norm, scratch).reshape(width, 1), sum);
    Tensor transposed = scratch.allocate(DType.F32, width, width);
    backend.linear(identity, sum, null, transposed);
    return transposed;
  }

  private Tensor mapped(Tensor weight, Tensor map, TensorArena scratch) {
    Tensor out = scratch.allocate(DType.F32, weight.rows(), weight.columns());
    backend.linear(wide(weight, scratch), map, null, out);
    return out;
  }

  /** The values of a weight in f32. */
  private Tensor wide(Tensor weight, TensorArena scratch) {
    return narrow(weight, DType.F32, scratch);
  }

  private Tensor narrow(Tensor values, DType dtype, TensorArena scratch) {
    Tensor out = scratch.allocate(dtype, values.rows(), values.columns());
    backend.mix(List.of(new TensorMix(out, new double[] {1}, List.of(values))));
    return out;
  }

  @Override
  public void close() {
    arena.close();
    ridge.close();
    streams.close();
    blocks.close();
  }
}
