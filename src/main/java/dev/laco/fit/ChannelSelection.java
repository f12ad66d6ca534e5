package dev.laco.fit;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * The feed-forward channels that stay where several layers become one.
 *
 * @param kept by layer and index in ascending order
 */
record ChannelSelection(List<Channel> kept) {
  /**
   * A channel of one of the layers.
   *
   * @param layer position of its layer among the layers that become one, from 0
   * @param index of the channel in its layer
   */
  record Channel(int layer, int index) {}

  ChannelSelection {
    kept = List.copyOf(kept);
  }

  /**
   * Keeps the {@code count} channels of the highest scores; among equal ones the lower layer and
   * index.
   *
   * @param scores one array for each layer, with the score of each of its channels
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
}
