package dev.laco.eval;

/** Told how far a long computation has come. */
@FunctionalInterface
public interface Progress {
  /** {@code done} of {@code total} units of work are finished. */
  void update(long done, long total);
}
