package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.LinearSystem;
import dev.laco.backend.LinearSystem.Difference;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.collapse.BlockCost;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.BlockSettings.Block;
import dev.laco.linalg.NotPositiveDefiniteException;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.DoubleConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Measures in closed form what the removal of every block of layers costs (docs/method.md, "The
 * choice in closed form"). One walk over the original gives the second moments from which, for all
 * blocks behind a layer, a down projection of this layer is fitted to the hidden states behind the
 * block; in models with mixtures of experts a map of the hidden states in front of the block. What
 * the fit leaves is weighed by the gradients of the original's predictions.
 */
public final class BlockMeasure implements AutoCloseable {
  /** Tokens that down projections, or maps, are fitted to. */
  private static final int SEEN = 8_192;

  /** Chunks of documents held out, on whose beginnings they are measured. */
  private static final int HELD_OUT = 12;

  /** Tokens of each beginning. */
  private static final int BEGINNING = 64;

  /** Tokens of all beginnings. */
  public static final int HELD_OUT_TOKENS = HELD_OUT * BEGINNING;

  /** Floor of a hidden state's mean square: smaller ones do not weigh more. */
  private static final double FLOOR = 1e-6;

  private static final double[] DIFFERENCE = {1, -1};

  private final Backend backend;
  private final ModelConfig config;
  private final BlockSettings settings;
  private final double lambda;
  private final FitBlocks blocks;
  private final List<FitBlocks.Block> seen;
  private final List<FitBlocks.Block> heldOut;
  private final Streams streams;
  private final CheckpointLayers layers;
  private final Original original;

  /** Null where {@link #runs} are in their place. */
  private final @Nullable PredictionGradients gradients;

  /**
   * Where a norm follows the down projection, which no map takes the place of: what the fit leaves
   * has another direction there, and only its size tells.
   */
  private final @Nullable PredictionRuns runs;

  private final LinearSystem system;
  private final TensorArena arena;

  /**
   * The original's hidden states: state {@code i} is the input of layer {@code i}, {@code [T, d]}.
   */
  private final List<Tensor> states = new ArrayList<>();

  /** {@code 1 / sqrt(mean(h^2))} of each token of these states. */
  private final float[][] roots;

  /** Index of the last hidden state that was computed. */
  private int front;

  /** The root of each token's weight, {@code [T, 1]}. */
  private final Tensor scale;

  /** Features of all tokens, each row of those that are fitted times its scale, {@code [T, k]}. */
  private final Tensor features;

  /** {@code C_h (G + r)^-1} for the features {@code C_h [H, k]} of the tokens held out. */
  private final Tensor dual;

  /** The same in the dtype in which the device multiplies quickly. */
  private final Tensor quickDual;

  /**
   * The share of each fitted token's target in the prediction of each token held out, {@code [T,
   * H]}, in that dtype.
   */
  private final Tensor shares;

  /** The same of a block of fitted tokens before they are rounded, {@code [T, H]}. */
  private final Tensor exactShares;

  /** Of a block of fitted tokens what removed layers add, {@code [T, d]}. */
  private final Tensor target;

  /** What the fit leaves of each hidden state held out, {@code [H, d]}. */
  private final Tensor error;

  private final Tensor products;
  private final Tensor room;

  /**
   * By the layer behind a block: nats of divergence for each unit of the unexplained share, by a
   * run without the longest block that ends there.
   */
  private final Map<Integer, Double> prices = new HashMap<>();

  /** Allocates buffers for the blocks of a model. */
  public BlockMeasure(RunningModel running, FitText text, BlockSettings settings) {
    this.settings = settings;
    backend = running.backend();
    config = running.config();
    blocks = new FitBlocks(running.original(), seen(text), heldOut(text));
    lambda = CarryOver.Lambdas.DEFAULT.scaled(1, blocks.tokens()).gap();
    seen = blocks.list().stream().filter(FitBlocks.Block::seen).toList();
    heldOut = blocks.list().stream().filter(block -> !block.seen()).toList();
    streams = new Streams(backend, config, blocks.tokens(), blocks.widest());
    layers = new CheckpointLayers(running);
    original = new Original(running.original(), layers, blocks, streams);
    boolean mapped = !config.normsOutputs();
    gradients = mapped ? new PredictionGradients(running.original(), layers, heldOut) : null;
    runs = mapped ? null : new PredictionRuns(running.original(), heldOut);
    int tokens = blocks.tokens();
    int judged = FitBlocks.tokens(heldOut);
    long width = config.hiddenSize();
    long channels = features(config);
    DType quick = backend.productType(DType.BF16);
    system = backend.solver().system(channels, judged);
    arena = backend.arena();
    for (int i = 0; i < longest(config, settings) + 2; i++) {
      states.add(arena.allocate(DType.F32, tokens, width));
    }
    roots = new float[states.size()][tokens];
    scale = arena.allocate(DType.F32, tokens, 1);
    features = arena.allocate(DType.F32, tokens, channels);
    dual = arena.allocate(DType.F32, judged, channels);
    quickDual = quick == DType.F32 ? dual : arena.allocate(quick, judged, channels);
    shares = arena.allocate(quick, Math.max(1, tokens - judged), judged);
    exactShares = arena.allocate(DType.F32, blocks.largest(), judged);
    target = arena.allocate(DType.F32, blocks.largest(), width);
    error = arena.allocate(DType.F32, judged, width);
    products = arena.allocate(DType.F32, judged, 1);
    room = arena.allocate(DType.F32, judged, width);
  }

  /** Bytes of buffers. */
  public static long bytes(
      Backend backend, ModelConfig config, FitText text, BlockSettings settings) {
    List<FitText.Chunk> chunks = new ArrayList<>(seen(text));
    chunks.addAll(heldOut(text));
    long tokens = FitText.tokens(chunks);
    long judged = FitText.tokens(heldOut(text));
    int block = FitBlocks.largest(chunks);
    long width = config.hiddenSize();
    long channels = features(config);
    return Streams.bytes(config, tokens, FitBlocks.widest(backend, config, chunks))
        + (config.normsOutputs()
            ? PredictionRuns.bytes(config, judged)
            : PredictionGradients.bytes(backend, config, judged))
        + backend.solver().bytes(channels, judged)
        // What a device rounds the factors of cross products to.
        + block * (channels + width) * DType.BF16.byteSize()
        + judged * (tokens + channels) * backend.productType(DType.BF16).byteSize()
        + ((longest(config, settings) + 2) * tokens * width
                + tokens * (channels + 1)
                + channels * channels
                + judged * (channels + 2 * width + 1)
                + block * (judged + width))
            * DType.F32.byteSize();
  }

  /** Tokens that down projections, or maps, are fitted to. */
  public static int tokens(FitText text) {
    return new FitText(text.name(), seen(text)).tokens();
  }

  private static int longest(ModelConfig config, BlockSettings settings) {
    return Math.min(settings.removed(), config.numHiddenLayers() - 1);
  }

  /** Numbers of each token that are mapped to what removed layers add. */
  public static long features(ModelConfig config) {
    return config.mixture() == null ? config.intermediateSize() : config.hiddenSize();
  }

  private static List<FitText.Chunk> seen(FitText text) {
    return new FitText(text.name(), FitBlocks.split(text.chunks(), false)).limit(SEEN).chunks();
  }

  private static List<FitText.Chunk> heldOut(FitText text) {
    return FitBlocks.split(text.chunks(), true).stream()
        .limit(HELD_OUT)
        .map(
            chunk ->
                new FitText.Chunk(
                    Arrays.copyOf(chunk.ids(), Math.min(BEGINNING, chunk.length())),
                    chunk.document(),
                    chunk.domain()))
        .toList();
  }

  /**
   * The cost of every block of the settings, in the order of the blocks' first layers. May be
   * called once.
   *
   * @param progress is told which share is done
   */
  public List<BlockCost> measure(DoubleConsumer progress) {
    if (gradients != null) {
      gradients.compute(settings.lowest() + 1 + settings.align());
    }
    if (runs != null) {
      runs.compute();
    }
    original.embed();
    keep(0);
    List<BlockCost> all = new ArrayList<>();
    int last = settings.highest() - settings.align();
    for (int from = settings.lowest() + 1; from <= last; from++) {
      List<Block> here = settings.from(from);
      advance(here.getLast().to());
      weigh(from, here.getLast().to());
      boolean fitted = fit(from);
      for (Block removed : here) {
        all.add(cost(removed, fitted));
      }
      progress.accept((double) (from - settings.lowest()) / (last - settings.lowest()));
    }
    return all;
  }

  private Tensor state(int index) {
    return states.get(index % states.size());
  }

  private static Tensor rows(Tensor all, FitBlocks.Block block) {
    return all.slice(block.from(), block.to());
  }

  /** The rows of the tokens held out, which come last. */
  private Tensor judged(Tensor all) {
    return all.slice(heldOut.getFirst().from(), all.rows());
  }

  /** Runs the original until the input of layer {@code index} is computed. */
  private void advance(int index) {
    for (; front < index; front++) {
      original.run(front, front + 1);
      keep(front + 1);
    }
  }

  /** Keeps the original's hidden states, and the inverse root mean square of each. */
  private void keep(int index) {
    backend.copy(streams.dense(), state(index));
    backend.inverseRms(state(index), FLOOR, scale);
    backend.download(scale, roots(index));
  }

  private float[] roots(int index) {
    return roots[index % roots.length];
  }

  /**
   * Gives each token the weight {@code 1 / mean(h_t^2)}, of the hidden states in front of and
   * behind some blocks the longest: a token whose states become huge inside a block weighs no more
   * than others.
   */
  private void weigh(int from, int to) {
    float[] least = roots(from).clone();
    for (int index = from + 1; index <= to; index++) {
      float[] other = roots(index);
      for (int t = 0; t < least.length; t++) {
        least[t] = Math.min(least[t], other[t]);
      }
    }
    backend.upload(least, scale);
  }

  /**
   * What is mapped to what removed layers add: the channels of the layer in front of the blocks
   * that begin at {@code from}; in models with mixtures the hidden states behind that layer, of
   * equal length.
   */
  private Tensor features(int from, FitBlocks.Block block) {
    Tensor inside = streams.pruned(block);
    if (config.mixture() != null) {
      backend.copy(rows(state(from), block), inside);
      return streams.normed(block);
    }
    LayerWeights weights = original.layer(from - 1);
    backend.copy(rows(state(from - 1), block), inside);
    streams.attention(weights, layers.attention(from - 1), inside, block);
    return streams.channels(weights, block);
  }

  /**
   * Fits a map to what the layers behind {@code from} add, whatever that is: a prediction for a
   * token held out is a sum of the fitted tokens' targets, with {@link #shares} that are the same
   * for all blocks of layers that begin here.
   *
   * @return whether there is a map; there is none where all features are zero, or sums overflow f32
   */
  private boolean fit(int from) {
    try (TensorArena scratch = backend.arena()) {
      Tensor gram = scratch.allocate(DType.F32, features.columns(), features.columns());
      for (FitBlocks.Block block : seen) {
        Tensor weighted = rows(features, block);
        backend.scaledDifference(features(from, block), null, rows(scale, block), weighted);
        backend.addGram(weighted, gram);
      }
      for (FitBlocks.Block block : heldOut) {
        backend.copy(features(from, block), rows(features, block));
      }
      system.ridge(
          new Difference(gram, null),
          new Difference(judged(features), null),
          lambda,
          Ridge.FLOOR,
          dual);
    } catch (NotPositiveDefiniteException e) {
      return false;
    }
    if (quickDual.dtype() != DType.F32) {
      backend.copy(dual, quickDual);
    }
    for (FitBlocks.Block block : seen) {
      Tensor exact = exactShares.slice(0, block.tokens());
      backend.linear(rows(features, block), quickDual, null, exact);
      backend.copy(exact, rows(shares, block));
    }
    return true;
  }

  /** What the removal of a block of layers costs. */
  private BlockCost cost(Block removed, boolean fitted) {
    Tensor before = state(removed.from());
    Tensor behind = state(removed.to());
    // What the block adds less what is predicted, with the other sign.
    backend.mix(List.of(new TensorMix(error, DIFFERENCE, List.of(judged(before), judged(behind)))));
    if (fitted) {
      for (FitBlocks.Block block : seen) {
        Tensor added = target.slice(0, block.tokens());
        backend.scaledDifference(
            rows(behind, block), rows(before, block), rows(scale, block), added);
        backend.crossProduct(rows(shares, block), added, error);
      }
    }
    double divergence =
        gradients == null ? 0 : gradients.divergence(removed.to(), error, products) / error.rows();
    double unexplained = weighted(error) / weighted(judged(behind));
    if (runs != null) {
      if (settings.isLongest(removed)) {
        backend.add(error, judged(behind));
        // Layers that add nothing cost nothing.
        double moved = runs.divergence(removed.to(), error) / error.rows();
        prices.put(removed.to(), unexplained == 0 ? 0 : moved / unexplained);
      }
      divergence = unexplained * Objects.requireNonNull(prices.get(removed.to()));
    }
    return new BlockCost(removed, unexplained, divergence);
  }

  /** The weighted sum of squares of hidden states held out. */
  private double weighted(Tensor held) {
    backend.scaledDifference(held, null, judged(scale), room);
    return Values.sumOfSquares(backend, room);
  }

  @Override
  public void close() {
    system.close();
    arena.close();
    if (gradients != null) {
      gradients.close();
    }
    if (runs != null) {
      runs.close();
    }
    streams.close();
    blocks.close();
  }
}
