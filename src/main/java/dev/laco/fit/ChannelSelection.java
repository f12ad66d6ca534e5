package dev.laco.fit;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * The feed-forward channels that stay where several layers become one: the best of all of them, fed
 * with the one layer's input. A channel's norm weights go into its own rows of gate and up.
 *
 * @param kept the channels, by layer and index in ascending order
 */
record ChannelSelection(List<Channel> kept) {
  /** A norm weight below this share of the largest cannot be divided by. */
  private static final double NEAR_ZERO = 1e-3;

  /**
   * A channel of one of the layers.
   *
   * @param layer place of its layer among those that become one
   * @param index of the channel there
   */
  record Channel(int layer, int index) {}

  ChannelSelection {
    kept = List.copyOf(kept);
  }

  /**
   * Keeps the {@code count} channels of the highest scores; among equal ones the lower layer and
   * index.
   *
   * @param scores of every channel, by layer
   */
  static ChannelSelection best(List<double[]> scores, int count) {
    List<Channel> all = new ArrayList<>();
    for (int layer = 0; layer < scores.size(); layer++) {
      for (int index = 0; index < scores.get(layer).length; index++) {
        all.add(new Channel(layer, index));
      }
    }
    Comparator<Channel> inOrder =
        Comparator.comparingInt(Channel::layer).thenComparingInt(Channel::index);
    all.sort(
        Comparator.comparingDouble((Channel c) -> -scores.get(c.layer)[c.index])
            .thenComparing(inOrder));
    return new ChannelSelection(all.subList(0, count).stream().sorted(inOrder).toList());
  }

  /**
   * The feed-forward part made of the kept channels, but for its down projection: norm, gate, up
   * and, where the layers have them, their biases.
   *
   * @param layers tensors of each layer by role
   * @param make a new tensor for a role, as large as the first layer's
   */
  Map<LayerRole, HostTensor> tensors(List<HostLayer> layers, Function<LayerRole, HostTensor> make) {
    List<float[]> norms =
        layers.stream().map(l -> Values.all(l.get(LayerRole.POST_ATTENTION_NORM))).toList();
    HostTensor norm = make.apply(LayerRole.POST_ATTENTION_NORM);
    float[] common = common(norms.getFirst(), norm.dtype());
    Values.store(common, norm, 0);
    Map<LayerRole, HostTensor> made = new EnumMap<>(LayerRole.class);
    made.put(LayerRole.POST_ATTENTION_NORM, norm);
    for (LayerRole role : List.of(LayerRole.GATE, LayerRole.UP)) {
      HostTensor matrix = make.apply(role);
      for (int row = 0; row < kept.size(); row++) {
        Channel channel = kept.get(row);
        float[] values = Values.row(layers.get(channel.layer).get(role), channel.index);
        float[] own = norms.get(channel.layer);
        for (int i = 0; i < values.length; i++) {
          values[i] = (float) ((double) values[i] * own[i] / common[i]);
        }
        Values.store(values, matrix, (long) row * values.length);
      }
      made.put(role, matrix);
    }
    for (LayerRole role : List.of(LayerRole.GATE_BIAS, LayerRole.UP_BIAS)) {
      if (layers.getFirst().has(role)) {
        HostTensor bias = make.apply(role);
        for (int row = 0; row < kept.size(); row++) {
          Channel channel = kept.get(row);
          HostTensor own = layers.get(channel.layer).get(role);
          Values.store(new float[] {Values.at(own, channel.index)}, bias, row);
        }
        made.put(role, bias);
      }
    }
    return made;
  }

  /** The kept channels' own columns of down projections: {@code [d, k]}, a row at a time. */
  float[] downRow(List<HostTensor> downs, int row) {
    List<float[]> rows = downs.stream().map(down -> Values.row(down, row)).toList();
    float[] values = new float[kept.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = rows.get(kept.get(i).layer)[kept.get(i).index];
    }
    return values;
  }

  /** The first layer's norm weights, ones where they are too small to divide by. */
  private static float[] common(float[] norm, DType dtype) {
    double largest = 0;
    for (float weight : norm) {
      largest = Math.max(largest, Math.abs(weight));
    }
    float[] common = new float[norm.length];
    for (int i = 0; i < norm.length; i++) {
      common[i] = Math.abs(norm[i]) > NEAR_ZERO * largest ? Values.rounded(norm[i], dtype) : 1;
    }
    return common;
  }
}
