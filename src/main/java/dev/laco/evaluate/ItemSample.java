package dev.laco.evaluate;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.checkpoint.Sha256;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;

/**
 * A sample of the items of tasks, where there is no time for all: of each task the same share, and
 * of a task those items whose hashes are the smallest. A larger sample holds every smaller one, and
 * the sample depends neither on the order of a file nor on the model.
 *
 * @param within seconds that the evaluation was allowed to take
 * @param seconds seconds that it took
 * @param items items that were measured
 * @param of items that there are
 */
public record ItemSample(double within, double seconds, long items, long of) {
  /** The seed of the hashes, which is a part of every sample. */
  static final long SEED = 1234;

  /** Halvings of the interval in which the share of the items is sought. */
  private static final int STEPS = 40;

  /**
   * An item of a task.
   *
   * @param hash of the item, by which items are chosen
   * @param bytes of the item as its file has it
   */
  record Weight(long hash, int bytes) {
    /** Of an item: the hash of the seed and of the item's text. */
    static Weight of(JsonNode item) {
      byte[] text = item.toString().getBytes(StandardCharsets.UTF_8);
      String hex =
          new Sha256()
              .update(ByteBuffer.allocate(Long.BYTES).putLong(SEED).flip())
              .update(text)
              .hex();
      return new Weight(HexFormat.fromHexDigitsToLong(hex, 0, 2 * Long.BYTES), text.length);
    }
  }

  /**
   * A task, whose items are ordered by their hashes.
   *
   * @param secondsPerByte what all models together take for a byte
   */
  record Stratum(List<Weight> items, double secondsPerByte) {
    Stratum {
      items = items.stream().sorted(Comparator.comparingLong(Weight::hash)).toList();
    }

    /** The number of items in a sample of a share of them: at least one. */
    int count(double share) {
      return Math.clamp(Math.round(share * items.size()), 1, items.size());
    }

    private double seconds(double share) {
      return bytes(count(share)) * secondsPerByte;
    }

    /** The bytes of the items in a sample of so many. */
    long bytes(int count) {
      return items.stream().limit(count).mapToLong(Weight::bytes).sum();
    }

    /** The largest hash in a sample of so many items. */
    long bound(int count) {
      return items.get(count - 1).hash;
    }
  }

  /** The largest share of the items of all tasks for which the time suffices; 1 for all. */
  static double share(List<Stratum> strata, double seconds) {
    if (taken(strata, 1) <= seconds) {
      return 1;
    }
    double low = 0;
    double high = 1;
    for (int step = 0; step < STEPS; step++) {
      double middle = (low + high) / 2;
      if (taken(strata, middle) <= seconds) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }

  private static double taken(List<Stratum> strata, double share) {
    return strata.stream().mapToDouble(stratum -> stratum.seconds(share)).sum();
  }

  /** What the sample is of results. */
  static ItemSample of(double within, double seconds, TaskResults results) {
    List<TaskResult> tasks = results.tasks();
    return new ItemSample(
        within,
        seconds,
        tasks.stream().mapToLong(TaskResult::items).sum(),
        tasks.stream().mapToLong(TaskResult::available).sum());
  }
}
