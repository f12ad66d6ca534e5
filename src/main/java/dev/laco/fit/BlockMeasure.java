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
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.DoubleConsumer;
import java.util.function.DoubleSupplier;
import java.util.function.Supplier;

/**
 * Measures in closed form what the removal of every block of layers costs (docs/method.md, "The
 * choice in closed form"). One walk over the original gives the second moments from which, for all
 * blocks behind a layer, a down projection of this layer is fitted to the hidden states behind the
 * block; in models with mixtures of experts a map of the hidden states in front of the block. What
 * the fit leaves is weighed by the gradients of the original's predictions.
 */
public final class BlockMeasure implements AutoCloseable {
  /** The most tokens that down projections, or maps, are fitted to. */
  private static final int SEEN = 6_144;

  /** The most of these tokens for each number that is mapped. */
  private static final int SEEN_FOR_EACH = 8;

  /** Chunks of documents held out, on whose beginnings they are measured. */
  private static final int HELD_OUT = 8;

  /** Tokens of each beginning. */
  private static final int BEGINNING = 48;

  /** Tokens of all beginnings. */
  public static final int HELD_OUT_TOKENS = HELD_OUT * BEGINNING;

  /** How often the head is multiplied for each run by which blocks are priced. */
  public static final double HEADS_OF_RUN = 1 + 1.0 / PredictionRuns.TOGETHER;

  /** How many times as much as the median's the states of a token grow that become huge. */
  private static final float HUGE = 10;

  private static final double[] DIFFERENCE = {1, -1};

  private final Backend backend;
  private final ModelConfig config;
  private final BlockSettings settings;
  private final double lambda;
  private final FitBlocks blocks;
  private final List<FitBlocks.Block> seen;
  private final List<FitBlocks.Block> heldOut;
  private final Streams streams;
  private final Original original;
  private final Predictions predictions;
  private final LinearSystem system;
  private final TensorArena arena;

  /**
   * The original's hidden states in front of the last layers that were run: state {@code i} is the
   * input of layer {@code i}, {@code [T, d]}.
   */
  private final List<Tensor> states = new ArrayList<>();

  /** {@code 1 / sqrt(mean(h^2))} of each token of these states. */
  private final float[][] roots;

  /** The root of each token's weight, on the host. */
  private final float[] weights;

  /** How much larger the states of each token held out become inside a block, on the host. */
  private final float[] growth;

  /** {@link #weights} on the device, {@code [T, 1]}. */
  private final Tensor scale;

  /** Features of all tokens, each row of those that are fitted times its scale, {@code [T, k]}. */
  private final Tensor features;

  /** {@code C_h (G + r)^-1} for the features {@code C_h [H, k]} of the tokens held out. */
  private final Tensor dual;

  /** The same in the dtype in which the device multiplies quickly. */
  private final Tensor quickDual;

  /**
   * For each of the last layers that were run, the share of each fitted token's target in the
   * prediction of each token held out, {@code [T, H]}, in that dtype.
   */
  private final List<Tensor> shares = new ArrayList<>();

  /** The same of a block of fitted tokens before they are rounded, {@code [T, H]}. */
  private final Tensor exactShares;

  /** The layers in front of which {@link #shares} could be computed. */
  private final Set<Integer> fitted = new HashSet<>();

  /** Of a block of fitted tokens what removed layers add, {@code [T, d]}. */
  private final Tensor target;

  /** What the fit leaves of each hidden state held out, {@code [H, d]}. */
  private final Tensor error;

  private final Tensor room;

  /** Allocates buffers for the blocks of a model. */
  public BlockMeasure(RunningModel running, FitText text, BlockSettings settings) {
    this.settings = settings;
    backend = running.backend();
    config = running.config();
    blocks = new FitBlocks(running.original(), seen(config, text), heldOut(text));
    lambda = CarryOver.Lambdas.DEFAULT.scaled(1, blocks.tokens()).gap();
    seen = blocks.list().stream().filter(FitBlocks.Block::seen).toList();
    heldOut = blocks.list().stream().filter(block -> !block.seen()).toList();
    streams = new Streams(backend, config, blocks.tokens(), blocks.widest());
    CheckpointLayers layers = new CheckpointLayers(running);
    original = new Original(running.original(), layers, blocks, streams);
    predictions = Predictions.of(running.original(), layers, heldOut);
    int tokens = blocks.tokens();
    int judged = FitBlocks.tokens(heldOut);
    long width = config.hiddenSize();
    long channels = features(config);
    DType quick = backend.productType(DType.BF16);
    system = backend.solver().system(channels, judged);
    arena = backend.arena();
    for (int i = 0; i <= longest(config, settings); i++) {
      states.add(arena.allocate(DType.F32, tokens, width));
    }
    for (int i = 0; i < longest(config, settings); i++) {
      shares.add(arena.allocate(quick, Math.max(1, tokens - judged), judged));
    }
    roots = new float[states.size()][tokens];
    weights = new float[tokens];
    growth = new float[judged];
    scale = arena.allocate(DType.F32, tokens, 1);
    features = arena.allocate(DType.F32, tokens, channels);
    dual = arena.allocate(DType.F32, judged, channels);
    quickDual = quick == DType.F32 ? dual : arena.allocate(quick, judged, channels);
    exactShares = arena.allocate(DType.F32, blocks.largest(), judged);
    target = arena.allocate(DType.F32, blocks.largest(), width);
    error = arena.allocate(DType.F32, judged, width);
    room = arena.allocate(DType.F32, judged, width);
  }

  /** Bytes of buffers. */
  public static long bytes(
      Backend backend, ModelConfig config, FitText text, BlockSettings settings) {
    List<FitText.Chunk> chunks = new ArrayList<>(seen(config, text));
    chunks.addAll(heldOut(text));
    long tokens = FitText.tokens(chunks);
    long judged = FitText.tokens(heldOut(text));
    int block = FitBlocks.largest(chunks);
    long width = config.hiddenSize();
    long channels = features(config);
    return Streams.bytes(config, tokens, FitBlocks.widest(backend, config, chunks))
        + Predictions.bytes(backend, config, judged)
        + backend.solver().bytes(channels, judged)
        // What a device rounds the factors of cross products to.
        + block * (channels + width) * DType.BF16.byteSize()
        + judged
            * (longest(config, settings) * tokens + channels)
            * backend.productType(DType.BF16).byteSize()
        + ((longest(config, settings) + 1L) * tokens * width
                + tokens * (channels + 1)
                + channels * channels
                + judged * (channels + 2 * width)
                + block * (judged + width))
            * DType.F32.byteSize();
  }

  /** Tokens that down projections, or maps, are fitted to. */
  public static int tokens(ModelConfig config, FitText text) {
    return FitText.tokens(seen(config, text));
  }

  private static int longest(ModelConfig config, BlockSettings settings) {
    return Math.min(settings.removed(), config.numHiddenLayers() - 1);
  }

  /** Numbers of each token that are mapped to what removed layers add. */
  public static long features(ModelConfig config) {
    return config.mixture() == null ? config.intermediateSize() : config.hiddenSize();
  }

  private static List<FitText.Chunk> seen(ModelConfig config, FitText text) {
    int most = (int) Math.min(SEEN, SEEN_FOR_EACH * features(config));
    return new FitText(text.name(), FitBlocks.split(text.chunks(), false)).limit(most).chunks();
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
    predictions.compute(settings.lowest() + 1 + settings.align());
    original.embed();
    keep(0);
    List<Supplier<BlockCost>> all = new ArrayList<>();
    for (int base = 0; base < settings.highest(); base++) {
      boolean begins = base >= settings.lowest() && base + settings.align() < settings.highest();
      if (begins) {
        run(base);
      } else {
        original.run(base, base + 1);
      }
      keep(base + 1);
      for (Block removed : settings.to(base + 1)) {
        all.add(cost(removed));
      }
      if (begins) {
        fit(base + 1);
      }
      progress.accept((base + 1.0) / settings.highest());
    }
    return all.stream()
        .map(Supplier::get)
        .sorted(
            Comparator.comparingInt((BlockCost cost) -> cost.block().from())
                .thenComparingInt(cost -> cost.block().to()))
        .toList();
  }

  private Tensor state(int index) {
    return states.get(index % states.size());
  }

  /** The rows of the tokens held out, which come last. */
  private Tensor judged(Tensor all) {
    return all.slice(heldOut.getFirst().from(), all.rows());
  }

  /** Runs a layer of the original that may be the base of blocks, and computes its features. */
  private void run(int base) {
    if (config.mixture() == null) {
      original.run(base, features);
      return;
    }
    original.run(base, base + 1);
    for (FitBlocks.Block block : blocks.wide()) {
      backend.copy(streams.normed(streams.dense(block)), block.rows(features));
    }
  }

  /** Keeps the original's hidden states, and the inverse root mean square of each. */
  private void keep(int index) {
    backend.copy(streams.dense(), state(index));
    backend.inverseRms(state(index), Streams.FLOOR, scale);
    backend.download(scale, roots(index));
  }

  private float[] roots(int index) {
    return roots[index % roots.length];
  }

  /**
   * Fits a map of the {@link #features} of layer {@code from - 1} to what the layers behind it add,
   * whatever that is: a prediction for a token held out is a sum of the fitted tokens' targets,
   * with {@link #shares} that are the same for all blocks of layers that begin here.
   *
   * <p>There is no map where all features are zero, or sums overflow f32.
   */
  private void fit(int from) {
    System.arraycopy(roots(from), 0, weights, 0, weights.length);
    limit(largest(from), weights);
    backend.upload(weights, scale);
    try (TensorArena scratch = backend.arena()) {
      Tensor gram = scratch.allocate(DType.F32, features.columns(), features.columns());
      for (FitBlocks.Block block : seen) {
        Tensor weighted = block.rows(features);
        backend.scaledDifference(weighted, null, block.rows(scale), weighted);
        backend.addGram(weighted, gram);
      }
      system.ridge(
          new Difference(gram, null),
          new Difference(judged(features), null),
          lambda,
          Ridge.FLOOR,
          dual);
    } catch (NotPositiveDefiniteException e) {
      return;
    }
    if (quickDual.dtype() != DType.F32) {
      backend.copy(dual, quickDual);
    }
    for (FitBlocks.Block block : seen) {
      Tensor exact = exactShares.slice(0, block.tokens());
      backend.linear(block.rows(features), quickDual, null, exact);
      backend.copy(exact, block.rows(shares(from)));
    }
    fitted.add(from);
  }

  private Tensor shares(int from) {
    return shares.get(from % shares.size());
  }

  /**
   * The largest root of a token's weight in the fit of what the layers behind {@code from} add;
   * that of the others is {@link #roots}. Most hidden states grow from layer to layer, and huge
   * ones, of the first tokens, do not: these would weigh less behind the layers than others.
   */
  private float largest(int from) {
    return predictions.scale(Math.min(from + settings.removed(), settings.highest()));
  }

  /**
   * Gives each token held out the weight {@code 1 / mean(h_t^2)}, of the hidden states from those
   * in front of a block to those behind it the longest, and each fitted token that of {@link #fit};
   * but 0 where its states become huge inside the block, so that it does not hide all others.
   */
  private void weigh(Block removed) {
    float[] before = roots(removed.from());
    System.arraycopy(before, 0, weights, 0, weights.length);
    for (int index = removed.from() + 1; index <= removed.to(); index++) {
      limit(roots(index), weights);
    }
    int seenTokens = heldOut.getFirst().from();
    for (int t = 0; t < growth.length; t++) {
      growth[t] = before[seenTokens + t] / weights[seenTokens + t];
    }
    Arrays.sort(growth);
    float most = HUGE * growth[growth.length / 2];
    weighFitted(seenTokens, before, most, largest(removed.from()), weights);
    backend.upload(weights, scale);
  }

  // The JVM compiles a loop sooner where nothing is around it.

  private static void limit(float most, float[] values) {
    for (int t = 0; t < values.length; t++) {
      values[t] = Math.min(values[t], most);
    }
  }

  private static void limit(float[] most, float[] values) {
    for (int t = 0; t < values.length; t++) {
      values[t] = Math.min(values[t], most[t]);
    }
  }

  private static void weighFitted(
      int tokens, float[] before, float most, float largest, float[] weights) {
    for (int t = 0; t < tokens; t++) {
      weights[t] = before[t] <= most * weights[t] ? Math.min(before[t], largest) : 0;
    }
  }

  /** What the removal of a block of layers costs, which is known once all blocks were measured. */
  private Supplier<BlockCost> cost(Block removed) {
    weigh(removed);
    Tensor before = state(removed.from());
    Tensor behind = state(removed.to());
    // What the block adds less what is predicted, with the other sign.
    backend.mix(List.of(new TensorMix(error, DIFFERENCE, List.of(judged(before), judged(behind)))));
    if (fitted.contains(removed.from())) {
      for (FitBlocks.Block block : seen) {
        Tensor added = target.slice(0, block.tokens());
        backend.scaledDifference(block.rows(behind), block.rows(before), block.rows(scale), added);
        backend.crossProduct(block.rows(shares(removed.from())), added, error);
      }
    }
    double unexplained = weighted(error) / weighted(judged(behind));
    DoubleSupplier divergence = predictions.divergence(removed, error, judged(behind), unexplained);
    return () -> new BlockCost(removed, unexplained, divergence.getAsDouble());
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
    predictions.close();
    streams.close();
    blocks.close();
  }
}
