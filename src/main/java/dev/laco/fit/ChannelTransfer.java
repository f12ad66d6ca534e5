package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.LayerPart;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.LayerWeights;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Fills the feed-forward channels of a layer with the best channels of all layers that it stands
 * for. A channel brings its rows of the gate and up projections, multiplied by the map of its
 * layer's input, its column of the down projection, and its biases.
 */
final class ChannelTransfer {
  /** Tokens by which channels are chosen, at least: a block of tokens is taken as a whole. */
  private static final int TOKENS = 1024;

  private final Backend backend;
  private final ModelConfig config;
  private final List<FitBlocks.Block> blocks;
  private final Streams streams;
  private final Original original;
  private final Matrices matrices;
  private final NewLayer layer;
  private final int base;
  private final List<Tensor> maps;

  /**
   * A transfer from the original's layers {@code base}, {@code base + 1}, … to a new one.
   *
   * @param blocks of tokens; channels are chosen by the first of them
   * @param maps the {@link Matrices#map} of each of these layers
   */
  ChannelTransfer(
      Workbench bench, List<FitBlocks.Block> blocks, NewLayer layer, int base, List<Tensor> maps) {
    this.backend = bench.backend();
    this.config = bench.config();
    this.blocks = FitBlocks.beginning(blocks, TOKENS);
    this.streams = bench.streams();
    this.original = bench.original();
    this.matrices = bench.matrices();
    this.layer = layer;
    this.base = base;
    this.maps = maps;
  }

  void run() {
    List<double[]> scores = new ArrayList<>();
    for (int i = 0; i < maps.size(); i++) {
      scores.add(scores(i, maps.get(i)));
    }
    ChannelSelection selection = ChannelSelection.best(scores, config.intermediateSize());
    takeRows(LayerRole.GATE, selection);
    takeRows(LayerRole.UP, selection);
    takeColumns(LayerRole.DOWN, selection);
    takeColumns(LayerRole.GATE_BIAS, selection);
    takeColumns(LayerRole.UP_BIAS, selection);
  }

  /**
   * Scores of a layer's channels: {@code sqrt(sum_t w_t a_t^2)} times the length of the channel's
   * column of the down projection.
   */
  private double[] scores(int follower, Tensor map) {
    LayerWeights own = original.layer(base + follower);
    try (TensorArena scratch = backend.arena()) {
      Tensor gate = own.get(LayerRole.GATE);
      Tensor up = own.get(LayerRole.UP);
      Tensor unit = scratch.allocate(DType.F32, 1, config.hiddenSize());
      float[] one = new float[config.hiddenSize()];
      Arrays.fill(one, config.norm().neutralWeight());
      backend.upload(one, unit);
      LayerWeights aligned =
          own.with(
              Map.of(
                  LayerPart.of(LayerRole.GATE),
                      matrices.narrow(matrices.mapped(gate, map, scratch), gate.dtype(), scratch),
                  LayerPart.of(LayerRole.UP),
                      matrices.narrow(matrices.mapped(up, map, scratch), up.dtype(), scratch),
                  LayerPart.of(LayerRole.FEED_FORWARD_INPUT_NORM), unit));
      Tensor power = scratch.allocate(DType.F32, 1, config.intermediateSize());
      for (FitBlocks.Block block : blocks) {
        Tensor channels = streams.channels(aligned, block);
        streams.scale(channels, block);
        backend.addSquares(channels, power);
      }
      Tensor columns = scratch.allocate(DType.F32, 1, config.intermediateSize());
      backend.addSquares(matrices.wide(own.get(LayerRole.DOWN), scratch), columns);
      float[] powers = new float[config.intermediateSize()];
      float[] norms = powers.clone();
      backend.download(power, powers);
      backend.download(columns, norms);
      double[] scores = new double[powers.length];
      for (int i = 0; i < scores.length; i++) {
        double score = Math.sqrt((double) powers[i] * norms[i]);
        // A channel beyond f32 is the last that is taken.
        scores[i] = Double.isFinite(score) ? score : Double.NEGATIVE_INFINITY;
      }
      return scores;
    }
  }

  /**
   * What to do with the channels {@code [from, to)} of those that are kept, which are of one layer.
   */
  @FunctionalInterface
  private interface OfLayer {
    void take(int follower, int from, int to, TensorArena scratch);
  }

  /** Goes through the layers of which channels are kept. */
  private void eachLayer(ChannelSelection selection, OfLayer task) {
    List<ChannelSelection.Channel> kept = selection.kept();
    int from = 0;
    while (from < kept.size()) {
      int follower = kept.get(from).layer();
      int to = from;
      while (to < kept.size() && kept.get(to).layer() == follower) {
        to++;
      }
      try (TensorArena scratch = backend.arena()) {
        task.take(follower, from, to, scratch);
      }
      from = to;
    }
  }

  private static int[] indices(ChannelSelection selection, int from, int to) {
    return selection.kept().subList(from, to).stream()
        .mapToInt(ChannelSelection.Channel::index)
        .toArray();
  }

  private void takeRows(LayerRole role, ChannelSelection selection) {
    DType dtype = original.layer(base).get(role).dtype();
    try (TensorArena arena = backend.arena()) {
      Tensor taken = arena.allocate(DType.F32, selection.kept().size(), config.hiddenSize());
      eachLayer(
          selection,
          (follower, from, to, scratch) -> {
            Tensor own = original.layer(base + follower).get(role);
            Tensor rows = scratch.allocate(DType.F32, to - from, config.hiddenSize());
            backend.gather(matrices.wide(own, scratch), indices(selection, from, to), rows);
            matrices.multiply(rows, maps.get(follower), taken.slice(from, to));
          });
      layer.use(role, dtype, taken);
    }
  }

  private void takeColumns(LayerRole role, ChannelSelection selection) {
    Tensor before = layer.weights().find(role);
    if (before == null) {
      return;
    }
    Tensor taken = layer.replace(LayerPart.of(role), before.dtype(), before);
    eachLayer(
        selection,
        (follower, from, to, scratch) -> {
          Tensor own = original.layer(base + follower).get(role);
          backend.gatherColumns(
              own.dtype() == taken.dtype() ? own : matrices.narrow(own, taken.dtype(), scratch),
              indices(selection, from, to),
              taken,
              from);
        });
  }
}
