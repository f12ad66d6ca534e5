package dev.laco.collapse;

/**
 * The work of scoring, and a lower bound for it.
 *
 * <p>Operations are the multiplications and additions of matrix products and of attention, two for
 * each pair of elements; norms, activations and mixing are left out. Bytes are those of layer
 * weights in the checkpoint's dtype; what a pass reads several times counts once in that pass, and
 * a mixed layer that was stored before is read in the place of its sources.
 *
 * @param passes over the original layers, the original's own included; a pass may begin behind the
 *     first layer
 * @param rescored plans that were scored again alone, in passes that are not among {@code passes}
 * @param bytesRead weights of the layers that the passes walked
 * @param operations that were done
 * @param floorOperations the original's own pass, and for every plan on whose score something was
 *     decided its layers from the first on that differs from the original's, once
 * @param floorBytes the original's layers, once
 */
public record Work(
    long passes,
    long rescored,
    long bytesRead,
    long operations,
    long floorOperations,
    long floorBytes) {
  /** No work. */
  public static final Work NONE = new Work(0, 0, 0, 0, 0, 0);
}
