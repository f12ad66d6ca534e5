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
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.function.DoubleConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Measures in closed form what the removal of every block of layers costs (docs/method.md, "The
 * choice in closed form"). One walk over the original gives the second moments from which, for all
 * blocks behind a layer, a down projection of this layer is fitted to the hidden states behind the
 * block; in models with mixtures of experts a map of the hidden states in front of the block.
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

  /** Random directions in which hidden states are compared, where there are more channels. */
  private static final int DIRECTIONS = 256;

  /**
   * Divergences that are measured at once, so that one computation of the original's logits serves
   * them.
   */
  private static final int AT_ONCE = 8;

  /** Floor of a hidden state's mean square: smaller ones do not weigh more. */
  private static final double FLOOR = 1e-6;

  private static final double[] LESS = {1, -1};

  private final Backend backend;
  private final ModelConfig config;
  private final CausalLm model;
  private final BlockSettings settings;
  private final int longest;
  private final double lambda;
  private final FitBlocks blocks;
  private final List<FitBlocks.Block> seen;
  private final List<FitBlocks.Block> heldOut;
  private final Streams streams;
  private final CheckpointLayers layers;
  private final Original original;
  private final Workspace work;
  private final LinearSystem system;
  private final TensorArena arena;

  /** The original's hidden states: state {@code i} is the input of layer {@code i}, [T, d]. */
  private final List<Tensor> states = new ArrayList<>();

  /**
   * The same states in {@link #directions}, {@code [T, m]}; empty where states are compared by
   * channel.
   */
  private final List<Tensor> projections = new ArrayList<>();

  /** {@code 1 / sqrt(mean(h^2))} of each token of these states. */
  private final float[][] roots;

  /** Index of the last hidden state that was computed. */
  private int front;

  /** One direction a row, {@code [m, d]}; null where hidden states are compared by channel. */
  private final @Nullable Tensor directions;

  /** The final hidden states of the tokens held out, in the rows of their blocks. */
  private final Tensor predictions;

  /**
   * For each block of tokens held out, the final hidden states of the models without the {@link
   * #unpriced} blocks of layers, one model after the other.
   */
  private final List<Tensor> finals = new ArrayList<>();

  /** Blocks of layers whose removal is run, but whose divergence is not measured yet. */
  private final List<Unexplained> unpriced = new ArrayList<>();

  /** Nats of divergence for each unit of the unexplained share, by the layer behind a block. */
  private final Map<Integer, Double> prices = new HashMap<>();

  private final Tensor scale;
  private final Tensor target;
  private final Tensor reached;
  private final Tensor projected;
  private final Tensor image;

  /** Allocates buffers for the blocks of a model. */
  public BlockMeasure(RunningModel running, FitText text, BlockSettings settings) {
    this.settings = settings;
    backend = running.backend();
    config = running.config();
    model = running.original();
    longest = longest(config, settings);
    blocks = new FitBlocks(model, seen(text), heldOut(text));
    lambda = CarryOver.Lambdas.DEFAULT.scaled(1, blocks.tokens()).gap();
    seen = blocks.list().stream().filter(FitBlocks.Block::seen).toList();
    heldOut = blocks.list().stream().filter(block -> !block.seen()).toList();
    streams = new Streams(backend, config, blocks.tokens(), blocks.widest());
    layers = new CheckpointLayers(running);
    original = new Original(model, layers, blocks, streams);
    work = new Workspace(backend, config, blocks.largest());
    long width = config.hiddenSize();
    long features = features(config);
    long compared = directions(config);
    system = backend.solver().system(features, targets(config, settings));
    arena = backend.arena();
    for (int i = 0; i < longest + 2; i++) {
      states.add(arena.allocate(DType.F32, blocks.tokens(), width));
      if (compared < width) {
        projections.add(arena.allocate(DType.F32, blocks.tokens(), compared));
      }
    }
    roots = new float[states.size()][blocks.tokens()];
    directions = compared == width ? null : arena.allocate(DType.F32, compared, width);
    predictions = arena.allocate(DType.F32, blocks.tokens(), width);
    scale = arena.allocate(DType.F32, blocks.tokens(), 1);
    target = arena.allocate(DType.F32, blocks.largest(), width);
    reached = arena.allocate(DType.F32, blocks.largest(), width);
    projected = arena.allocate(DType.F32, blocks.largest(), compared);
    image = arena.allocate(DType.F32, blocks.largest(), compared);
    for (FitBlocks.Block block : heldOut) {
      finals.add(arena.allocate(DType.F32, (long) AT_ONCE * block.tokens(), width));
    }
    if (directions != null) {
      backend.upload(signs(Math.toIntExact(compared), config.hiddenSize()), directions);
    }
  }

  /** Bytes of buffers. */
  public static long bytes(
      Backend backend, ModelConfig config, FitText text, BlockSettings settings) {
    List<FitText.Chunk> chunks = new ArrayList<>(seen(text));
    chunks.addAll(heldOut(text));
    long tokens = FitText.tokens(chunks);
    int block = FitBlocks.largest(chunks);
    long width = config.hiddenSize();
    long features = features(config);
    long targets = targets(config, settings);
    long compared = directions(config);
    long projected = compared < width ? compared : 0;
    return Streams.bytes(config, tokens, FitBlocks.widest(backend, config, chunks))
        + Workspace.bytes(config, block)
        + backend.solver().bytes(features, targets)
        // What a device rounds the factors of cross products to.
        + block * (features + width) * DType.BF16.byteSize()
        + ((longest(config, settings) + 3) * tokens * width
                + (longest(config, settings) + 2) * tokens * projected
                + (long) AT_ONCE * HELD_OUT_TOKENS * width
                + features * (features + 2 * targets)
                + compared * (width + 2L * block)
                + 2L * block * width
                + tokens)
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

  /** Directions in which the hidden states of a model are compared. */
  private static long directions(ModelConfig config) {
    return Math.min(DIRECTIONS, config.hiddenSize());
  }

  /**
   * The most numbers of each token that features are mapped to at once: directions of every block
   * that begins at a layer, and all channels of the longest.
   */
  public static long targets(ModelConfig config, BlockSettings settings) {
    int others = longest(config, settings) / settings.align() - 1;
    return others * directions(config) + config.hiddenSize();
  }

  /**
   * Passes on which the original's logits of the tokens held out are computed, for each priced
   * block.
   */
  public static double logits() {
    return 1 + 1.0 / AT_ONCE;
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

  /** Rows of random signs that keep squared lengths on average; the same in every run. */
  private static float[] signs(int rows, int columns) {
    Random random = new Random(0);
    float one = (float) (1 / Math.sqrt(rows));
    float[] signs = new float[rows * columns];
    for (int i = 0; i < signs.length; i++) {
      signs[i] = random.nextBoolean() ? one : -one;
    }
    return signs;
  }

  /**
   * The cost of every block of the settings, in the order of the blocks' first layers. May be
   * called once.
   *
   * @param progress is told which share is done
   */
  public List<BlockCost> measure(DoubleConsumer progress) {
    original.embed();
    keep(0);
    predict();
    List<Unexplained> all = new ArrayList<>();
    int last = settings.highest() - settings.align();
    for (int from = settings.lowest() + 1; from <= last; from++) {
      List<Block> here = settings.from(from);
      advance(here.getLast().to());
      weigh(from, here.getLast().to());
      for (List<Block> group : groups(here)) {
        all.addAll(measure(from, group));
      }
      progress.accept((double) (from - settings.lowest()) / (last - settings.lowest()));
    }
    price();
    return all.stream()
        .map(
            each ->
                new BlockCost(
                    each.block,
                    each.share,
                    each.share * Objects.requireNonNull(prices.get(each.block.to()))))
        .toList();
  }

  /** The share of the hidden states behind a block that the fitted map cannot make. */
  private record Unexplained(Block block, double share) {}

  /**
   * Blocks that begin at a layer, in groups of one fit each. Where blocks that are priced have more
   * {@linkplain #channels channels} than others, a group has one of them.
   */
  private List<List<Block>> groups(List<Block> here) {
    boolean apart = directions != null && here.stream().filter(settings::isLongest).count() > 1;
    return apart ? here.stream().map(List::of).toList() : List.of(here);
  }

  /** Measures some of the blocks that begin at a layer, and removes those that are priced. */
  private List<Unexplained> measure(int from, List<Block> group) {
    try (TensorArena scratch = backend.arena()) {
      Tensor maps = maps(from, group, scratch);
      List<Unexplained> shares = unexplained(from, group, maps);
      for (int i = 0; i < group.size(); i++) {
        if (settings.isLongest(group.get(i))) {
          remove(shares.get(i), of(i, group, maps));
        }
      }
      return shares;
    }
  }

  private Tensor state(int index) {
    return at(states, index);
  }

  private static Tensor at(List<Tensor> ring, int index) {
    return ring.get(index % ring.size());
  }

  private static Tensor rows(Tensor all, FitBlocks.Block block) {
    return all.slice(block.from(), block.to());
  }

  /** Writes the original's final hidden states of the tokens held out. */
  private void predict() {
    for (FitBlocks.Block block : heldOut) {
      Tensor x = reached.slice(0, block.tokens());
      backend.copy(rows(state(0), block), x);
      model.finish(0, x, block.batch(), work, rows(predictions, block));
    }
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
    if (directions != null) {
      backend.linear(state(index), directions, null, at(projections, index));
    }
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

  /** The same, each row times the root of its weight. */
  private Tensor weighted(int from, FitBlocks.Block block) {
    Tensor features = features(from, block);
    backend.scaledDifference(features, null, rows(scale, block), features);
    return features;
  }

  /**
   * What removed layers add to the stream, each row times the root of its weight; in few
   * directions, unless all channels of the block are compared.
   */
  private Tensor compared(Block removed, FitBlocks.Block block) {
    boolean all = allChannels(removed);
    List<Tensor> ring = all ? states : projections;
    Tensor difference = (all ? target : projected).slice(0, block.tokens());
    backend.scaledDifference(
        rows(at(ring, removed.to()), block),
        rows(at(ring, removed.from()), block),
        rows(scale, block),
        difference);
    return difference;
  }

  /**
   * Whether all channels of the hidden states behind a block are compared: those of a block that is
   * priced, since its map takes the block's place, and in models of few channels those of every
   * block.
   */
  private boolean allChannels(Block removed) {
    return directions == null || settings.isLongest(removed);
  }

  /** The numbers of each hidden state behind a block that are compared. */
  private long channels(Block removed) {
    return allChannels(removed) ? config.hiddenSize() : DIRECTIONS;
  }

  private long channels(List<Block> removals) {
    return removals.stream().mapToLong(this::channels).sum();
  }

  /** The rows of a matrix that belong to one of several blocks. */
  private @Nullable Tensor of(int index, List<Block> removals, @Nullable Tensor all) {
    long from = channels(removals.subList(0, index));
    return all == null ? null : all.slice(from, from + channels(removals.get(index)));
  }

  /**
   * Fits a map for each of some blocks that begin at a layer, one behind the other.
   *
   * @return null where there is none: where all features are zero, or sums overflow f32
   */
  private @Nullable Tensor maps(int from, List<Block> removals, TensorArena scratch) {
    long features = features(config);
    Tensor gram = scratch.allocate(DType.F32, features, features);
    Tensor cross = scratch.allocate(DType.F32, channels(removals), features);
    for (FitBlocks.Block block : seen) {
      Tensor weighted = weighted(from, block);
      backend.addGram(weighted, gram);
      for (int i = 0; i < removals.size(); i++) {
        backend.crossProduct(
            compared(removals.get(i), block),
            weighted,
            Objects.requireNonNull(of(i, removals, cross)));
      }
    }
    Tensor maps = scratch.allocate(DType.F32, cross.rows(), cross.columns());
    try {
      system.ridge(
          new Difference(gram, null), new Difference(cross, null), lambda, Ridge.FLOOR, maps);
      return maps;
    } catch (NotPositiveDefiniteException e) {
      return null;
    }
  }

  /** Measures the map of each of some blocks that begin at a layer. */
  private List<Unexplained> unexplained(int from, List<Block> removals, @Nullable Tensor maps) {
    double[] left = new double[removals.size()];
    double[] energy = left.clone();
    for (FitBlocks.Block block : heldOut) {
      Tensor features = weighted(from, block);
      for (int i = 0; i < left.length; i++) {
        Tensor goal = compared(removals.get(i), block);
        Tensor map = of(i, removals, maps);
        if (map != null) {
          Tensor made = (allChannels(removals.get(i)) ? reached : image).slice(0, block.tokens());
          backend.linear(features, map, null, made);
          backend.mix(List.of(new TensorMix(made, LESS, List.of(goal, made))));
          goal = made;
        }
        left[i] += Values.sumOfSquares(backend, goal);
        Tensor whole = target.slice(0, block.tokens());
        Tensor behind = rows(state(removals.get(i).to()), block);
        backend.scaledDifference(behind, null, rows(scale, block), whole);
        energy[i] += Values.sumOfSquares(backend, whole);
      }
    }
    List<Unexplained> all = new ArrayList<>();
    for (int i = 0; i < left.length; i++) {
      all.add(new Unexplained(removals.get(i), left[i] / energy[i]));
    }
    return all;
  }

  /**
   * Runs the original without a block, for which the layer in front of it stands in by a map of its
   * features.
   */
  private void remove(Unexplained removed, @Nullable Tensor map) {
    long place = unpriced.size();
    for (int i = 0; i < heldOut.size(); i++) {
      FitBlocks.Block block = heldOut.get(i);
      int from = removed.block.from();
      Tensor x = target.slice(0, block.tokens());
      backend.copy(rows(state(from), block), x);
      if (map != null) {
        Tensor added = reached.slice(0, block.tokens());
        backend.linear(features(from, block), map, null, added);
        backend.add(x, added);
      }
      Tensor out = finals.get(i).slice(place * block.tokens(), (place + 1) * block.tokens());
      model.finish(removed.block.to(), x, block.batch(), work, out);
    }
    unpriced.add(removed);
    if (unpriced.size() == AT_ONCE) {
      price();
    }
  }

  /** Prices the blocks that were removed since the last call, by the divergence of their models. */
  private void price() {
    if (unpriced.isEmpty()) {
      return;
    }
    double[] sums = new double[unpriced.size()];
    for (int i = 0; i < heldOut.size(); i++) {
      FitBlocks.Block block = heldOut.get(i);
      Tensor models = finals.get(i).slice(0, (long) sums.length * block.tokens());
      double[] byRow = NextTokens.kl(model, rows(predictions, block), models, block.batch());
      for (int row = 0; row < byRow.length; row++) {
        sums[row / block.tokens()] += byRow[row];
      }
    }
    for (int i = 0; i < sums.length; i++) {
      double share = unpriced.get(i).share;
      // Layers that add nothing cost nothing.
      prices.put(
          unpriced.get(i).block.to(), share == 0 ? 0 : sums[i] / FitBlocks.tokens(heldOut) / share);
    }
    unpriced.clear();
  }

  @Override
  public void close() {
    system.close();
    work.close();
    arena.close();
    streams.close();
    blocks.close();
  }
}
