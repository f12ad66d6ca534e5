package dev.laco.checkpoint;

import dev.laco.ResourceException;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;
import java.util.function.Consumer;

/**
 * A pool of weights: at most {@code budget} bytes of a checkpoint's weights stay in one memory,
 * that of this process or that of a device. Tensors in use stay. Of the others, the layer whose
 * last use is longest ago is evicted first, as a whole, since the next layer needs memory for
 * tensors of the same sizes.
 */
public final class WeightPool implements TensorSource {
  private final Checkpoint checkpoint;
  private final TensorSource source;
  private final long budget;
  private final String where;
  private final Consumer<String> evict;

  /**
   * By the name of a layer, or of a tensor outside the layers; ordered by last use, the oldest
   * first.
   */
  private final Map<String, Group> groups = new LinkedHashMap<>(16, 0.75f, true);

  private long bytes;
  private long step;

  /**
   * A pool of a checkpoint's weights.
   *
   * @param source gives the checkpoint's tensors: the checkpoint itself, or another pool of them
   * @param budget the most bytes of weights in this memory
   * @param where what sets the budget, as a message says it before the number of bytes: {@code
   *     "free are "}
   * @param evict frees the memory of the tensor of a name; the source can give the tensor again
   */
  public WeightPool(
      Checkpoint checkpoint,
      TensorSource source,
      long budget,
      String where,
      Consumer<String> evict) {
    this.checkpoint = checkpoint;
    this.source = source;
    this.budget = budget;
    this.where = where;
    this.evict = evict;
  }

  /**
   * The tensors of a layer that are in memory, and the step in which each was last asked for. A
   * step ends with {@link #release}.
   */
  private static final class Group {
    final Map<String, Long> used = new HashMap<>();
    final Map<String, Long> prefetched = new HashMap<>();
  }

  /**
   * {@inheritDoc}
   *
   * @throws ResourceException if the tensors in use need more than the budget
   */
  @Override
  public HostTensor tensor(String name) {
    Group group = group(name);
    if (group.used.containsKey(name)) {
      group.used.put(name, step);
      return checkpoint.placeOf(name);
    }
    if (group.prefetched.remove(name) == null) {
      if (!makeRoom(byteSize(name), false)) {
        throw new ResourceException(
            String.format(
                Locale.ROOT,
                "%,d bytes of weights are in use at once, %s%,d for them; give more memory, or merge fewer layers",
                inUse() + byteSize(name),
                where,
                budget));
      }
      source.prefetch(List.of(name));
    }
    group.used.put(name, step);
    return source.tensor(name);
  }

  @Override
  public long byteSize(String name) {
    return checkpoint.byteSize(name);
  }

  /** {@inheritDoc} Tensors are read only as far as the budget leaves room beside those in use. */
  @Override
  public void prefetch(List<String> names) {
    for (String name : names) {
      Group group = group(name);
      if (!group.used.containsKey(name) && group.prefetched.put(name, step) == null) {
        if (!makeRoom(byteSize(name), true)) {
          group.prefetched.remove(name);
          return;
        }
        source.prefetch(List.of(name));
      }
    }
  }

  @Override
  public boolean fits(List<String> names) {
    return names.stream().distinct().mapToLong(this::byteSize).sum() <= budget
        && source.fits(names);
  }

  @Override
  public long spare() {
    return Math.max(0, budget - checkpoint.weightBytes());
  }

  @Override
  public void release() {
    step++;
    source.release();
  }

  /**
   * Makes room for a tensor that is about to be added.
   *
   * @param keepPrefetched whether tensors that were prefetched in this step stay, too
   * @return false if the budget does not suffice
   */
  private boolean makeRoom(long size, boolean keepPrefetched) {
    Iterator<Group> eldest = groups.values().iterator();
    while (bytes + size > budget && eldest.hasNext()) {
      Group group = eldest.next();
      giveUp(group.used, true);
      giveUp(group.prefetched, keepPrefetched);
    }
    if (bytes + size > budget) {
      return false;
    }
    bytes += size;
    return true;
  }

  private void giveUp(Map<String, Long> tensors, boolean keepThisStep) {
    Iterator<Map.Entry<String, Long>> all = tensors.entrySet().iterator();
    while (all.hasNext()) {
      Map.Entry<String, Long> tensor = all.next();
      if (!keepThisStep || tensor.getValue() != step) {
        evict.accept(tensor.getKey());
        bytes -= byteSize(tensor.getKey());
        all.remove();
      }
    }
  }

  private long inUse() {
    return groups.values().stream()
        .flatMap(group -> group.used.entrySet().stream())
        .filter(tensor -> tensor.getValue() == step)
        .mapToLong(tensor -> byteSize(tensor.getKey()))
        .sum();
  }

  private Group group(String name) {
    OptionalInt layer = checkpoint.config().architecture().layerOf(name);
    return groups.computeIfAbsent(
        layer.isPresent() ? "layer " + layer.getAsInt() : name, absent -> new Group());
  }
}
