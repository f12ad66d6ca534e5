package dev.laco.checkpoint;

import dev.laco.ResourceException;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Weights of a checkpoint, of which at most a budget stays in some memory: that of this process, or
 * a device's. What is in use stays; of the rest, what was not asked for the longest goes first, a
 * whole layer at a time, since the next layer needs room for tensors of the same sizes.
 */
public final class WeightWindow implements TensorSource {
  private static final Pattern LAYER = Pattern.compile("(.*\\.layers\\.\\d+)\\..*");

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
   * A window on a checkpoint.
   *
   * @param source gives the checkpoint's tensors: the checkpoint itself, or another window on it
   * @param budget most bytes that stay
   * @param where the budget comes from, for messages that go on with bytes
   * @param evict gives up the room of the tensor of a name, which the source can give again
   */
  public WeightWindow(
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

  /** What is there of a layer. */
  private static final class Group {
    final Set<String> prefetched = new HashSet<>();
    final Set<String> used = new HashSet<>();

    /** The step in which something of it was asked for, and in which it was last prefetched. */
    long usedIn = -1;

    long prefetchedIn = -1;
  }

  /**
   * {@inheritDoc}
   *
   * @throws ResourceException if what is in use takes more than the budget
   */
  @Override
  public HostTensor tensor(String name) {
    Group group = group(name);
    group.usedIn = step;
    if (group.used.contains(name)) {
      return checkpoint.file(name).tensor(name);
    }
    if (!group.prefetched.remove(name)) {
      if (!makeRoom(size(name), false)) {
        throw new ResourceException(
            "%,d bytes of weights are in use at once, %s%,d for them; give more memory, or merge fewer layers"
                .formatted(inUse() + size(name), where, budget));
      }
      source.prefetch(List.of(name));
    }
    group.used.add(name);
    return source.tensor(name);
  }

  /** {@inheritDoc} Only as far as there is room beside what is in use. */
  @Override
  public void prefetch(List<String> names) {
    for (String name : names) {
      Group group = group(name);
      group.prefetchedIn = step;
      if (!group.used.contains(name) && !group.prefetched.contains(name)) {
        if (!makeRoom(size(name), true)) {
          return;
        }
        group.prefetched.add(name);
        source.prefetch(List.of(name));
      }
    }
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
      if (group.usedIn != step && !(keepPrefetched && group.prefetchedIn == step)) {
        giveUp(group);
        eldest.remove();
      }
    }
    if (bytes + size > budget) {
      return false;
    }
    bytes += size;
    return true;
  }

  private void giveUp(Group group) {
    for (Set<String> names : List.of(group.used, group.prefetched)) {
      for (String name : names) {
        evict.accept(name);
        bytes -= size(name);
      }
    }
  }

  private long inUse() {
    return groups.values().stream()
        .filter(group -> group.usedIn == step)
        .flatMap(group -> group.used.stream())
        .mapToLong(this::size)
        .sum();
  }

  private Group group(String name) {
    Matcher layer = LAYER.matcher(name);
    return groups.computeIfAbsent(layer.matches() ? layer.group(1) : name, absent -> new Group());
  }

  private long size(String name) {
    return checkpoint.file(name).info(name).byteSize();
  }
}
