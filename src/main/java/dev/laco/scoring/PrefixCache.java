package dev.laco.scoring;

import dev.laco.backend.DeviceMemory;
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
 * Hidden states {@code [T, d]} after the first layers of some plans, the kept ones, so that a pass
 * need not run these layers again. The original is always kept; if memory cannot hold its hidden
 * states after every layer, it holds those after every second, third, … layer.
 */
final class PrefixCache implements AutoCloseable {
  private final DeviceMemory backend;
  private final TensorArena arena;
  private final Deque<Tensor> free = new ArrayDeque<>();
  private final List<Kept> kept = new ArrayList<>();
  private final int stride;

  /** Cached hidden states of a plan: {@code after[i]} is those after layer {@code i}, or null. */
  private record Kept(CollapsePlan plan, @Nullable Tensor[] after) {
    Kept(CollapsePlan plan) {
      this(plan, new Tensor[plan.depth() - 1]);
    }
  }

  /**
   * Where the run of a plan can start.
   *
   * @param depth number of layers that need not be run
   * @param state the cached hidden states after them; null if {@code depth} is 0
   */
  record Start(int depth, @Nullable Tensor state) {}

  /** Allocates memory for {@code states} matrices {@code [tokens, hiddenSize]}. */
  PrefixCache(
      DeviceMemory backend, CollapsePlan original, int states, long tokens, long hiddenSize) {
    this.backend = backend;
    this.arena = backend.arena();
    for (int i = 0; i < states; i++) {
      free.add(arena.allocate(DType.F32, tokens, hiddenSize));
    }
    this.stride = states == 0 ? original.depth() : Math.ceilDiv(original.depth() - 1, states);
    kept.add(new Kept(original));
  }

  /** Sets the plans that are kept beside the original. */
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

  /** The deepest cached hidden states of a plan's first layers. */
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
   * Copies the hidden states after the first {@code depth} layers of a plan, if a kept plan has the
   * same first layers and there is memory left.
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
    // Of the original, only the hidden states after every stride-th layer.
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
