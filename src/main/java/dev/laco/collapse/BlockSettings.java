package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Which blocks of consecutive layers may be removed. The layer in front of a block, its base,
 * stays.
 *
 * @param lowest the lowest base
 * @param highest exclusive end: no layer from here on is removed
 * @param align the length of every block is a multiple of this number
 * @param removed layers that all blocks of a model have together, a multiple of {@code align}
 * @param needed layers of which one stays in every model, where so many others can be removed; none
 *     where the model needs none of them
 */
public record BlockSettings(int lowest, int highest, int align, int removed, Set<Integer> needed) {
  public BlockSettings {
    needed = Set.copyOf(needed);
  }

  /** Blocks of a model that needs no layer but the first. */
  public BlockSettings(int lowest, int highest, int align, int removed) {
    this(lowest, highest, align, removed, Set.of());
  }

  /**
   * A block of consecutive layers: {@code from} to {@code to}, exclusive.
   *
   * @param from at least 1
   */
  public record Block(int from, int to) {
    /** Number of layers. */
    public int length() {
      return to - from;
    }

    /** Whether a layer is one of the block's. */
    boolean has(int layer) {
      return from <= layer && layer < to;
    }
  }

  /**
   * Checks the numbers against a model's depth.
   *
   * @throws UsageException that names the setting and the range, or says that so many layers cannot
   *     be removed
   */
  public void check(int depth) {
    CollapseSettings.checkSpans(2, lowest, highest, depth);
    if (align < 1) {
      throw Setting.of("align").refuse(align, "at least 1");
    }
    CollapseSettings.requireReach(depth - removed, depth - (highest - lowest) + 1, depth);
  }

  /** Every block that ends in front of a layer, the longest first. */
  public List<Block> to(int layer) {
    List<Block> blocks = new ArrayList<>();
    if (layer <= highest) {
      for (int length = align; length <= removed && layer - length > lowest; length += align) {
        blocks.addFirst(new Block(layer - length, layer));
      }
    }
    return blocks;
  }
}
