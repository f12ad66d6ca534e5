package dev.laco.prune;

/**
 * How a checkpoint is written.
 *
 * @param overwrite whether a checkpoint that is there is replaced
 * @param maxShardBytes most bytes of one weight file; larger checkpoints have several
 */
public record WriteSettings(boolean overwrite, long maxShardBytes) {
  /** No checkpoint is replaced; weight files have at most 5 GB. */
  public static final WriteSettings DEFAULT = new WriteSettings(false, 5_000_000_000L);
}
