package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
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
   * @param blocks the tokens by which channels are chosen
   * @param maps the {@link Matrices#map} of each of these layers
   */
  ChannelTransfer(
      Workbench bench, List<FitBlocks.Block> blocks, NewLayer layer, int base, List<Tensor> maps) {
    this.backend = bench.backend();
    this.config = bench.config();
    this.blocks = blocks;
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
    take(LayerRole.GATE, selection);
    take(LayerRole.UP, selection);
    takeColumns(selection);
    takeBias(LayerRole.GATE_BIAS, selection);
    takeBias(LayerRole.UP_BIAS, selection);
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
                  LayerRole.GATE,
                      matrices.narrow(matrices.mapped(gate, map, scratch), gate.dtype(), scratch),
                  LayerRole.UP,
                      matrices.narrow(matrices.mapped(up, map, scratch), up.dtype(), scratch),
                  LayerRole.FEED_FORWARD_INPUT_NORM, unit));
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

  private void take(LayerRole role, ChannelSelection selection) {
    DType dtype = original.layer(base).get(role).dtype();
    try (TensorArena arena = backend.arena()) {
      Tensor taken = arena.allocate(DType.F32, selection.kept().size(), config.hiddenSize());
      eachLayer(
          selection,
          (follower, from, to, scratch) -> {
            Tensor own = original.layer(base + follower).get(role);
            int[] rows =
                selection.kept().subList(from, to).stream()
                    .mapToInt(ChannelSelection.Channel::index)
                    .toArray();
            backend.gather(
                matrices.mapped(own, maps.get(follower), scratch), rows, taken.slice(from, to));
          });
      layer.use(role, dtype, taken);
    }
  }

  private void takeColumns(ChannelSelection selection) {
    DType dtype = original.layer(base).get(LayerRole.DOWN).dtype();
    List<Long> shape = List.of((long) config.hiddenSize(), (long) config.intermediateSize());
    try (MemoryArena memory = new MemoryArena()) {
      HostTensor taken = HostTensor.allocate(memory, LayerRole.DOWN.name(), dtype, shape);
      HostTensor whole = HostTensor.allocate(memory, LayerRole.DOWN.name(), dtype, shape);
      MemoryTensor columns = MemoryTensor.of(taken);
      MemoryTensor own = MemoryTensor.of(whole);
      long width = columns.columns();
      eachLayer(
          selection,
          (follower, from, to, _) -> {
            backend.download(original.layer(base + follower).get(LayerRole.DOWN), whole);
            for (long row = 0; row < columns.rows(); row++) {
              for (int i = from; i < to; i++) {
                int index = selection.kept().get(i).index();
                columns.set(row * width + i, own.get(row * width + index));
              }
            }
          });
      layer.use(LayerRole.DOWN, taken);
    }
  }

  private void takeBias(LayerRole role, ChannelSelection selection) {
    if (layer.weights().find(role) == null) {
      return;
    }
    float[] taken = new float[config.intermediateSize()];
    float[] values = new float[config.intermediateSize()];
    eachLayer(
        selection,
        (follower, from, to, scratch) -> {
          backend.download(
              matrices.wide(original.layer(base + follower).get(role), scratch), values);
          for (int i = from; i < to; i++) {
            taken[i] = values[selection.kept().get(i).index()];
          }
        });
    layer.use(role, original.layer(base).get(role).dtype(), taken);
  }
}
