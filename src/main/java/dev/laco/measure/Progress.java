package dev.laco.measure;

/** Is told how much of a long computation is done. */
@FunctionalInterface
public interface Progress {
  /** {@code done} of {@code total} units of work are finished. */
  void update(long done, long total);
}
