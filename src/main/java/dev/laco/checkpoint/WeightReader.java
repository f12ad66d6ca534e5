package dev.laco.checkpoint;

import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * One of several readers of a checkpoint. Weights that are computed from a file's bytes lie in
 * memory that all readers share. A reader holds those that it has asked for: their values stay
 * until this reader gives them up or is closed, also where another reader gives them up. Readers
 * may be on several threads; each of them is used by one thread at a time.
 */
public final class WeightReader implements TensorSource, AutoCloseable {
  private final Checkpoint checkpoint;
  private final TensorSource source;
  private final Set<String> held = new HashSet<>();

  /**
   * A reader that holds nothing yet.
   *
   * @param source gives the checkpoint's tensors
   */
  WeightReader(Checkpoint checkpoint, TensorSource source) {
    this.checkpoint = checkpoint;
    this.source = source;
  }

  /** Holds a tensor, which may be asked for later, or elsewhere. */
  public void hold(String name) {
    if (held.add(name)) {
      checkpoint.file(name).hold(name);
    }
  }

  /** {@inheritDoc} The tensor is held. */
  @Override
  public HostTensor tensor(String name) {
    hold(name);
    return source.tensor(name);
  }

  @Override
  public long byteSize(String name) {
    return source.byteSize(name);
  }

  /** {@inheritDoc} The tensors are held. */
  @Override
  public void prefetch(List<String> names) {
    names.forEach(this::hold);
    source.prefetch(names);
  }

  @Override
  public void release() {
    source.release();
  }

  /** Gives a tensor up; the last reader that does so frees its memory. */
  public void giveUp(String name) {
    letGo(name);
    checkpoint.giveUp(name);
  }

  /** Gives up all that this reader holds. */
  public void giveUpAll() {
    List.copyOf(held).forEach(this::giveUp);
  }

  private void letGo(String name) {
    if (held.remove(name)) {
      checkpoint.file(name).letGo(name);
    }
  }

  /** Ends the reading. What is in memory stays there for the next reader, until one gives it up. */
  @Override
  public void close() {
    List.copyOf(held).forEach(this::letGo);
  }
}
