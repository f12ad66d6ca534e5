package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.fit.ChannelSelection.Channel;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Which channels stay. */
class ChannelSelectionTest {
  @Test
  void theBestAreKeptInAscendingOrder() {
    ChannelSelection selection =
        ChannelSelection.best(List.of(new double[] {1, 5, 2}, new double[] {4, 0, 3}), 3);
    assertEquals(
        List.of(new Channel(0, 1), new Channel(1, 0), new Channel(1, 2)), selection.kept());
  }

  @Test
  void tiesGoToTheLowerLayerAndIndex() {
    ChannelSelection selection =
        ChannelSelection.best(List.of(new double[] {0, 7, 7}, new double[] {7, 7, 7}), 3);
    assertEquals(
        List.of(new Channel(0, 1), new Channel(0, 2), new Channel(1, 0)), selection.kept());
  }
}
