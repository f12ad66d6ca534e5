package dev.laco.bench.gpu;

/**
 * The extents of a launch.
 *
 * @param block threads of a block, which have one dimension
 * @param sharedBytes dynamic shared memory
 */
record Grid(long x, long y, long z, int block, int sharedBytes) {
  /** Blocks of one dimension. */
  static Grid of(long blocks, int block) {
    return new Grid(blocks, 1, 1, block, 0);
  }
}
