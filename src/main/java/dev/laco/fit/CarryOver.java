package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import dev.laco.scoring.PlannedLayers;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.Workspace;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * Makes the layer before a gap carry over what the removed layers did (docs/method.md, "Rules that
 * carry over"). The original and the pruned model run side by side over the fit text, layer by
 * layer; behind a gap the feed-forward part of the layer before it is fitted to what the original
 * has there, on the inputs that it really gets.
 *
 * <p>Holds the streams of both models for all tokens, {@code [T, d]} each, and the features of one
 * block.
 */
public final class CarryOver implements AutoCloseable {
  /** Below this mean square a token counts no more for being smaller. */
  private static final double FLOOR = 1e-6;

  private static final List<Double> LAMBDAS = List.of(0.003, 0.01, 0.03, 0.1, 0.3, 1.0);

  private final Backend backend;
  private final ModelConfig config;
  private final TensorSource source;
  private final CheckpointLayers originals;
  private final DecoderLayer decoder;
  private final List<TensorSpec> specs;
  private final FitBlocks blocks;
  private final TensorArena arena;
  private final Workspace work;
  private final Tensor dense;
  private final Tensor pruned;
  private final Tensor scale;
  private final Tensor target;
  private final Ridge ridge;

  /** Buffers for a text; {@link #fit} uses them for any number of plans. */
  public CarryOver(
      Backend backend, ModelConfig config, TensorSource source, List<FitText.Window> windows) {
    this.backend = backend;
    this.config = config;
    this.source = source;
    originals = new CheckpointLayers(backend, config, source);
    decoder = new DecoderLayer(backend, config);
    specs = config.architecture().layerTensors(config);
    CausalLm model = CausalLm.of(backend, config, source);
    blocks = new FitBlocks(model, windows);
    arena = backend.arena();
    work = new Workspace(backend, config, blocks.largest());
    dense = arena.allocate(DType.F32, blocks.tokens(), config.hiddenSize());
    pruned = arena.allocate(DType.F32, blocks.tokens(), config.hiddenSize());
    scale = arena.allocate(DType.F32, blocks.largest(), 1);
    target = arena.allocate(DType.F32, blocks.largest(), config.hiddenSize());
    ridge = new Ridge(backend, config.intermediateSize(), config.hiddenSize());
  }

  /**
   * One fitted layer, for people.
   *
   * @param layer index in the pruned model
   * @param base original index
   * @param followers removed layers whose work it takes over
   * @param lambda chosen regularisation
   * @param before error at its output on held-out documents, relative to what it should add, with
   *     the weights as they were
   * @param after with the fitted ones
   */
  public record FittedLayer(
      int layer, int base, int followers, double lambda, double before, double after) {}

  /** New tensors for a plan, and what became of each layer. */
  public record Result(NewWeights tensors, List<FittedLayer> layers) {}

  /** Which tensors may change. */
  public record Settings(boolean select) {}

  /** Told how many layers of the pruned model are done. */
  @FunctionalInterface
  public interface Progress {
    void update(long done, long total);
  }

  /**
   * Fits a plan's layers.
   *
   * @param memory owner of the new tensors
   */
  public Result fit(CollapsePlan plan, Settings settings, Arena memory, Progress progress) {
    List<FittedLayer> fitted = new ArrayList<>();
    NewWeights tensors = NewWeights.NONE;
    CausalLm original = CausalLm.of(backend, config, source);
    try (PlannedLayers layers = new PlannedLayers(backend, config, source, plan, dtype -> dtype)) {
      for (FitBlocks.Block block : blocks.list()) {
        original.embed(block.batch(), rows(dense, block));
      }
      boolean same = true;
      int next = 0;
      for (int index = 0; index < plan.depth(); index++) {
        LayerMix mix = plan.layers().get(index);
        int end =
            index + 1 < plan.depth() ? plan.layers().get(index + 1).base() : originals.depth();
        boolean copy = mix.isOriginal(next) && end == next + 1;
        if (same && !copy) {
          backend.copy(dense, pruned);
          same = false;
        }
        for (; next < end; next++) {
          runOriginal(next);
        }
        if (!same) {
          int followers = end - mix.base() - 1;
          LayerWeights weights = layers.layer(index, blocks.largest());
          int window = layers.slidingWindow(index);
          for (FitBlocks.Block block : blocks.list()) {
            attend(weights, window, block);
          }
          if (followers > 0) {
            Fit fit = new Fit(index, mix.base(), end, settings, memory);
            tensors = fit.run(weights, tensors);
            fitted.add(fit.outcome());
            weights = fit.weights();
          }
          for (FitBlocks.Block block : blocks.list()) {
            Tensor y = rows(pruned, block);
            decoder.features(weights, y, work.forTokens(y.rows()));
            decoder.contribute(weights, y, work.forTokens(y.rows()));
          }
        }
        progress.update(index + 1, plan.depth());
      }
    }
    return new Result(tensors, List.copyOf(fitted));
  }

  private static Tensor rows(Tensor all, FitBlocks.Block block) {
    return all.slice(block.from(), block.to());
  }

  private void runOriginal(int index) {
    LayerWeights weights = originals.layer(index, blocks.largest());
    for (FitBlocks.Block block : blocks.list()) {
      Tensor x = rows(dense, block);
      Workspace.Buffers buffers = work.forTokens(x.rows());
      decoder.run(weights, originals.slidingWindow(index), x, block.batch(), buffers);
    }
  }

  /** The pruned stream becomes what it is behind the layer's attention. */
  private void attend(LayerWeights weights, int window, FitBlocks.Block block) {
    Tensor x = rows(pruned, block);
    Workspace.Buffers buffers = work.forTokens(x.rows());
    decoder.attend(weights, window, x, block.batch(), buffers);
    decoder.project(weights, buffers);
    backend.add(x, buffers.normed());
  }

  /** The fit of one layer. */
  private final class Fit {
    private final int index;
    private final int base;
    private final int end;
    private final Settings settings;
    private final Arena memory;
    private final Map<LayerRole, HostTensor> made = new EnumMap<>(LayerRole.class);
    private LayerWeights weights = new LayerWeights(Map.of());
    private Ridge.Outcome outcome = new Ridge.Outcome(0, 1, 1);

    Fit(int index, int base, int end, Settings settings, Arena memory) {
      this.index = index;
      this.base = base;
      this.end = end;
      this.settings = settings;
      this.memory = memory;
    }

    NewWeights run(LayerWeights old, NewWeights tensors) {
      weights = old;
      try (TensorArena scratch = backend.arena()) {
        Tensor start = scratch.allocate(DType.F32, config.hiddenSize(), config.intermediateSize());
        if (settings.select()) {
          select(start);
        } else {
          HostTensor down = original(base).get(LayerRole.DOWN);
          for (int row = 0; row < config.hiddenSize(); row++) {
            backend.upload(Values.row(down, row), start.slice(row, row + 1));
          }
        }
        try (NormalEquations seen = equations();
            NormalEquations unseen = equations()) {
          gather(seen, unseen);
          outcome = ridge.solve(seen, unseen, start, LAMBDAS);
        }
        store();
      }
      NewWeights all = tensors;
      for (HostTensor tensor : made.values()) {
        all = all.with(tensor);
      }
      return all;
    }

    LayerWeights weights() {
      return weights;
    }

    FittedLayer outcome() {
      return new FittedLayer(
          index, base, end - base - 1, outcome.lambda(), outcome.before(), outcome.after());
    }

    private HostLayer original(int layer) {
      return HostLayer.of(config, source, layer);
    }

    /** A new tensor of the pruned model's layer, of the base's dtype. */
    private HostTensor make(LayerRole role) {
      TensorSpec spec = specs.stream().filter(s -> s.role() == role).findFirst().orElseThrow();
      HostTensor tensor =
          HostTensor.allocate(
              memory,
              config.architecture().layerPrefix(index) + spec.suffix(),
              original(base).get(role).dtype(),
              spec.shape());
      made.put(role, tensor);
      return tensor;
    }

    private void use(Map<LayerRole, HostTensor> tensors) {
      Map<LayerRole, Tensor> onDevice = new EnumMap<>(LayerRole.class);
      tensors.forEach((role, tensor) -> onDevice.put(role, backend.weight(tensor)));
      weights = weights.with(onDevice);
    }

    private void select(Tensor start) {
      List<HostLayer> layers = new ArrayList<>();
      List<double[]> scores = new ArrayList<>();
      for (int layer = base; layer < end; layer++) {
        layers.add(original(layer));
        scores.add(scores(layer));
      }
      ChannelSelection selection = ChannelSelection.best(scores, config.intermediateSize());
      use(selection.tensors(layers, this::make));
      List<HostTensor> downs = layers.stream().map(l -> l.get(LayerRole.DOWN)).toList();
      for (int row = 0; row < config.hiddenSize(); row++) {
        backend.upload(selection.downRow(downs, row), start.slice(row, row + 1));
      }
    }

    /** {@code sqrt(sum_t w_t a_t^2)} times the norm of its down column, of each channel. */
    private double[] scores(int layer) {
      LayerWeights own = originals.layer(layer, blocks.largest());
      float[] power = new float[config.intermediateSize()];
      try (TensorArena scratch = backend.arena()) {
        Tensor squares = scratch.allocate(DType.F32, 1, power.length);
        for (FitBlocks.Block block : blocks.list()) {
          backend.addSquares(scaledFeatures(own, block), squares);
        }
        backend.download(squares, power);
      }
      double[] columns = new double[power.length];
      HostTensor down = original(layer).get(LayerRole.DOWN);
      for (int row = 0; row < config.hiddenSize(); row++) {
        float[] values = Values.row(down, row);
        for (int i = 0; i < values.length; i++) {
          columns[i] += (double) values[i] * values[i];
        }
      }
      double[] scores = new double[power.length];
      for (int i = 0; i < scores.length; i++) {
        scores[i] = Math.sqrt(power[i] * columns[i]);
      }
      return scores;
    }

    /** Leaves the block's weights in {@code scale}, and its scaled features where it returns. */
    private Tensor scaledFeatures(LayerWeights layer, FitBlocks.Block block) {
      Tensor y = rows(pruned, block);
      Workspace.Buffers buffers = work.forTokens(y.rows());
      decoder.features(layer, y, buffers);
      Tensor weight = scale.slice(0, y.rows());
      backend.inverseRms(rows(dense, block), FLOOR, weight);
      backend.scaledDifference(buffers.gate(), null, weight, buffers.gate());
      return buffers.gate();
    }

    private NormalEquations equations() {
      return new NormalEquations(backend, config.intermediateSize(), config.hiddenSize());
    }

    private void gather(NormalEquations seen, NormalEquations unseen) {
      for (FitBlocks.Block block : blocks.list()) {
        Tensor features = scaledFeatures(weights, block);
        long rows = features.rows();
        Tensor missing = target.slice(0, rows);
        backend.scaledDifference(
            rows(dense, block), rows(pruned, block), scale.slice(0, rows), missing);
        (block.seen() ? seen : unseen).add(features, missing);
      }
    }

    private void store() {
      HostTensor down = make(LayerRole.DOWN);
      float[] row = new float[config.intermediateSize()];
      for (int i = 0; i < config.hiddenSize(); i++) {
        backend.download(ridge.solution().slice(i, i + 1), row);
        Values.store(row, down, (long) i * row.length);
      }
      use(Map.of(LayerRole.DOWN, down));
    }
  }

  @Override
  public void close() {
    ridge.close();
    work.close();
    blocks.close();
    arena.close();
  }
}
