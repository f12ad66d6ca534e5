package dev.laco.scoring;

import dev.laco.backend.ForwardOps;
import dev.laco.backend.Tensor;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * One pass over the original's layers, in order, that runs any number of plans (candidates). A
 * candidate runs its next layer as soon as the pass has reached the last original layer that this
 * layer is mixed from. Candidates that are equal up to some depth are run once up to there, and
 * those with the same next layer run it as one batch.
 *
 * <p>Candidate {@code i} owns slot {@code i}: rows {@code [i T, (i + 1) T)} of the hidden states.
 * The hidden states of candidates that are still equal are in the slot of the first of them.
 */
final class Sweep {
  private final ForwardOps backend;
  private final CausalLm model;
  private final DecoderLayer decoder;
  private final PlannedLayers layers;
  private final RepeatedBatches batches;
  private final PrefixCache cache;
  private final Workspace work;
  private final Tensor states;
  private final WorkMeter meter;

  Sweep(
      ForwardOps backend,
      CausalLm model,
      PlannedLayers layers,
      RepeatedBatches batches,
      PrefixCache cache,
      Workspace work,
      Tensor states,
      WorkMeter meter) {
    this.backend = backend;
    this.model = model;
    this.decoder = new DecoderLayer(backend, model.config());
    this.layers = layers;
    this.batches = batches;
    this.cache = cache;
    this.work = work;
    this.states = states;
    this.meter = meter;
  }

  /** Candidates whose layers are equal so far; their hidden states are in the slot of the first. */
  private static final class Group {
    final List<Integer> members = new ArrayList<>();
    final List<CollapsePlan> plans = new ArrayList<>();
    int depth;

    Group(int depth) {
      this.depth = depth;
    }

    void add(int member, CollapsePlan plan) {
      members.add(member);
      plans.add(plan);
    }

    int slot() {
      return members.getFirst();
    }

    CollapsePlan plan() {
      return plans.getFirst();
    }

    boolean isDone() {
      return depth == plan().depth();
    }

    LayerMix next() {
      return plan().layers().get(depth);
    }
  }

  /**
   * Runs plans, no two of them equal; afterwards slot {@code i} holds the hidden states of plan
   * {@code i} after its last layer, before the final norm.
   */
  void run(List<CollapsePlan> plans) {
    meter.beginPass();
    List<Group> groups = begin(plans);
    int originals = plans.getFirst().source().layers();
    for (int layer = 0; layer < originals && !groups.isEmpty(); layer++) {
      groups = advance(groups, layer);
    }
  }

  /** Starts each candidate from the deepest cached hidden states of its first layers. */
  private List<Group> begin(List<CollapsePlan> plans) {
    Map<PrefixCache.Start, Group> byStart = new LinkedHashMap<>();
    for (int i = 0; i < plans.size(); i++) {
      PrefixCache.Start start = cache.deepest(plans.get(i));
      byStart.computeIfAbsent(start, s -> new Group(s.depth())).add(i, plans.get(i));
    }
    List<Group> groups = new ArrayList<>();
    byStart.forEach(
        (start, group) -> {
          Tensor slot = rows(group.slot(), 1);
          if (start.state() == null) {
            model.embed(batches.of(1), slot);
          } else {
            backend.copy(start.state(), slot);
          }
          split(group, groups);
        });
    return groups;
  }

  /**
   * Runs all layers whose last source is at most original layer {@code layer}, and returns the
   * groups that have layers left.
   */
  private List<Group> advance(List<Group> groups, int layer) {
    List<Group> current = groups;
    while (true) {
      Map<LayerMix, List<Group>> ready = new LinkedHashMap<>();
      List<Group> after = new ArrayList<>();
      for (Group group : current) {
        if (group.next().lastSource() <= layer) {
          ready.computeIfAbsent(group.next(), mix -> new ArrayList<>()).add(group);
        } else {
          after.add(group);
        }
      }
      if (ready.isEmpty()) {
        return after;
      }
      ready.forEach((mix, same) -> run(mix, same));
      for (List<Group> same : ready.values()) {
        for (Group group : same) {
          group.depth++;
          cache.offer(group.plan(), group.depth, rows(group.slot(), 1));
          split(group, after);
        }
      }
      current = after;
    }
  }

  /**
   * Splits a group by its candidates' next layers; candidates without a next layer are left out.
   */
  private void split(Group group, List<Group> into) {
    Map<Optional<LayerMix>, Group> parts = new LinkedHashMap<>();
    for (int i = 0; i < group.members.size(); i++) {
      CollapsePlan plan = group.plans.get(i);
      Optional<LayerMix> next =
          plan.layers().subList(group.depth, plan.depth()).stream().findFirst();
      parts.computeIfAbsent(next, key -> new Group(group.depth)).add(group.members.get(i), plan);
    }
    for (Group part : parts.values()) {
      if (part.slot() != group.slot()) {
        backend.copy(rows(group.slot(), 1), rows(part.slot(), 1));
      }
      if (!part.isDone()) {
        into.add(part);
      }
    }
  }

  /** Runs one layer for all groups whose next layer it is. */
  private void run(LayerMix mix, List<Group> groups) {
    Group first = groups.getFirst();
    List<Run> runs = runs(groups);
    long most = runs.stream().mapToLong(Run::count).max().orElseThrow();
    layers.use(first.plan());
    boolean stored = layers.isStored(mix);
    LayerWeights weights = layers.layer(first.depth, most * batches.tokens());
    for (Run run : runs) {
      Tensor x = rows(run.slot, run.count);
      decoder.run(
          weights,
          layers.attention(first.depth),
          x,
          batches.of(run.count),
          work.forTokens(x.rows()));
    }
    meter.ran(mix, stored, groups.size());
  }

  /** Neighbouring slots, which run as one batch. */
  private record Run(int slot, int count) {}

  private List<Run> runs(List<Group> groups) {
    List<Run> runs = new ArrayList<>();
    for (int slot : groups.stream().map(Group::slot).sorted(Comparator.naturalOrder()).toList()) {
      Run last = runs.isEmpty() ? new Run(slot, 0) : runs.removeLast();
      if (last.slot + last.count == slot && last.count < batches.most()) {
        runs.add(new Run(last.slot, last.count + 1));
      } else {
        runs.add(last);
        runs.add(new Run(slot, 1));
      }
    }
    return runs;
  }

  private Tensor rows(int slot, int count) {
    long tokens = batches.tokens();
    return states.slice(slot * tokens, (slot + count) * tokens);
  }
}
