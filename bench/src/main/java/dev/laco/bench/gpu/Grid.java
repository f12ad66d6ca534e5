package dev.laco.bench.gpu;

import dev.laco.backend.cuda.Dim3;

/**
 * The extents of a launch.
 *
 * @param blocks of the grid
 * @param block threads of a block
 * @param cluster blocks of a cluster
 * @param sharedBytes dynamic shared memory
 */
record Grid(Dim3 blocks, Dim3 block, Dim3 cluster, int sharedBytes) {
  /** Blocks of one dimension without clusters, as the engine's kernels have them. */
  Grid(long x, long y, long z, int block, int sharedBytes) {
    this(
        new Dim3(Math.toIntExact(x), Math.toIntExact(y), Math.toIntExact(z)),
        new Dim3(block, 1, 1),
        Dim3.ONE,
        sharedBytes);
  }

  /** A grid of one dimension. */
  static Grid of(long blocks, int block) {
    return new Grid(blocks, 1, 1, block, 0);
  }
}
