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
 * Weights of a checkpoint, of which at most a budget stays in some memory: that of this process, or
 * a device's. What is in use stays; of the rest, what was not asked for the longest goes first, a
 * whole layer at a time, since the next layer needs room for tensors of the same sizes.
 */
public final class WeightPool implements TensorSource {
  private final Checkpoint checkpoint;
  private final TensorSource source;
  private final long budget;
  private final String where;
  private final Consumer<String> evict;

  /** By name of a layer, or of a tensor that is in none; the longest not asked for comes first. */
  private final Map<String, Group> groups = new LinkedHashMap<>(16, 0.75f, true);

  private long bytes;
  private long step;

  /**
   * A pool of a checkpoint's weights.
   *
   * @param source gives the checkpoint's tensors: the checkpoint itself, or another pool of them
   * @param budget most bytes that stay
   * @param where the budget comes from, for messages that go on with bytes
   * @param evict gives up the room of the tensor of a name, which the source can give again
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

  /** What is there of a layer: tensors, and the step in which each was asked for last. */
  private static final class Group {
    final Map<String, Long> used = new HashMap<>();
    final Map<String, Long> prefetched = new HashMap<>();
  }

  /**
   * {@inheritDoc}
   *
   * @throws ResourceException if what is in use takes more than the budget
   */
  @Override
  public HostTensor tensor(String name) {
    Group group = group(name);
    if (group.used.containsKey(name)) {
      group.used.put(name, step);
      return checkpoint.file(name).tensor(name);
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

  /** {@inheritDoc} Only as far as there is room beside what is in use. */
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
  public void release() {
    step++;
    source.release();
  }

  /**
   * Makes room for a tensor that is about to be added.
   *
   * @param keepPrefetched whether what was prefetched in this step stays, too
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
