package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.DType;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * States that the first layers of kept plans leave behind, as many as there is room for. The
 * original is always among the kept plans, and where its states do not all fit, every second, third
 * … of them is held: what lies between is recomputed.
 */
final class PrefixCache implements AutoCloseable {
  private final Backend backend;
  private final TensorArena arena;
  private final Deque<Tensor> free = new ArrayDeque<>();
  private final List<Kept> kept = new ArrayList<>();
  private final int stride;

  /** Held states of a plan: {@code after[i]} its first {@code i + 1} layers, null if not held. */
  private record Kept(CollapsePlan plan, @Nullable Tensor[] after) {
    Kept(CollapsePlan plan) {
      this(plan, new Tensor[plan.depth() - 1]);
    }
  }

  /**
   * Where a plan can begin.
   *
   * @param depth layers that lie behind
   * @param state what they left; null where nothing is held and {@code depth} is 0
   */
  record Start(int depth, @Nullable Tensor state) {}

  /** Room for {@code states} states {@code [tokens, hiddenSize]}. */
  PrefixCache(Backend backend, CollapsePlan original, int states, long tokens, long hiddenSize) {
    this.backend = backend;
    this.arena = backend.arena();
    for (int i = 0; i < states; i++) {
      free.add(arena.allocate(DType.F32, tokens, hiddenSize));
    }
    this.stride = states == 0 ? original.depth() : Math.ceilDiv(original.depth() - 1, states);
    kept.add(new Kept(original));
  }

  /** From now on these plans are kept, beside the original. */
  void keep(List<CollapsePlan> plans) {
    List<Kept> before = List.copyOf(kept.subList(1, kept.size()));
    kept.subList(1, kept.size()).clear();
    for (Kept old : before) {
      if (plans.contains(old.plan())) {
        kept.add(old);
      } else {
        giveBack(old);
      }
    }
    for (CollapsePlan plan : plans) {
      if (kept.stream().noneMatch(old -> old.plan().equals(plan))) {
        kept.add(new Kept(plan));
      }
    }
  }

  private void giveBack(Kept old) {
    for (Tensor state : old.after()) {
      if (state != null) {
        free.add(state);
      }
    }
  }

  /** The deepest held state on the way through a plan. */
  Start deepest(CollapsePlan plan) {
    Start best = new Start(0, null);
    for (Kept other : kept) {
      int depth = Math.min(plan.commonPrefix(other.plan()), other.after().length);
      while (depth > best.depth() && other.after()[depth - 1] == null) {
        depth--;
      }
      if (depth > best.depth()) {
        best = new Start(depth, other.after()[depth - 1]);
      }
    }
    return best;
  }

  /**
   * Takes a copy of the state that the first {@code depth} layers of a plan left behind, if a kept
   * plan begins like that and there is room.
   */
  void offer(CollapsePlan plan, int depth, Tensor state) {
    if (free.isEmpty()) {
      return;
    }
    List<Kept> alike =
        kept.stream()
            .filter(other -> depth <= other.after().length)
            .filter(other -> plan.commonPrefix(other.plan()) >= depth)
            .toList();
    boolean isHeld = alike.stream().anyMatch(other -> other.after()[depth - 1] != null);
    if (alike.isEmpty() || isHeld) {
      return;
    }
    // The original is held evenly.
    Kept first = alike.getFirst();
    if (!first.plan().isIdentity() || depth % stride == 0) {
      Tensor copy = free.remove();
      backend.copy(state, copy);
      first.after()[depth - 1] = copy;
    }
  }

  @Override
  public void close() {
    arena.close();
  }
}
