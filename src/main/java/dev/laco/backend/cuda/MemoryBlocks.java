package dev.laco.backend.cuda;

import java.util.ArrayList;
import java.util.List;

/**
 * Device memory in blocks. A block that is given back is kept for the next buffer of exactly its
 * size: a driver waits for the whole device whenever it frees memory. Work that is queued on the
 * context's stream may use a block that is given back for as long as it runs, since whoever gets
 * the block next queues work behind it. Idle blocks are freed, the ones that were idle for longest
 * first, where all blocks together would take more than a limit, and all of them where the device
 * has no memory left.
 */
final class MemoryBlocks {
  /** The part of the free memory, one of so many, that idle blocks leave to other processes. */
  private static final long LEFT = 10;

  private final CudaContext context;
  private final CudaDriver driver;

  /** In the order in which they became idle. */
  private final List<Block> idle = new ArrayList<>();

  private long limit;
  private boolean bounded;
  private long bytes;

  /**
   * Memory of a context, at most most of what is free now.
   *
   * @param context is the current one of the calling thread
   */
  MemoryBlocks(CudaContext context) {
    this.context = context;
    this.driver = context.driver();
    long free = driver.memory().free();
    this.limit = free - free / LEFT;
  }

  /**
   * A piece of device memory.
   *
   * @param address a multiple of 256
   * @param vacated an event behind the last work on the context's stream that may use what the
   *     block held before
   */
  record Block(long address, long bytes, long vacated) {}

  /** Idle blocks are freed where all blocks together would take more bytes. */
  void limit(long most) {
    limit = most;
    bounded = true;
  }

  /** Whether {@link #limit} was called. */
  boolean isBounded() {
    return bounded;
  }

  /** Bytes of blocks that nobody uses. */
  long idleBytes() {
    return idle.stream().mapToLong(Block::bytes).sum();
  }

  /**
   * A block with any content.
   *
   * @param purpose what the memory is for, for the error message
   * @throws dev.laco.ResourceException if there is too little memory; the message says how much is
   *     needed and free, and what helps
   */
  Block take(long size, String purpose) {
    for (Block block : idle) {
      if (block.bytes == size) {
        idle.remove(block);
        return block;
      }
    }
    while (bytes + size > limit && !idle.isEmpty()) {
      free(idle.removeFirst());
    }
    long address = allocate(size, purpose);
    try {
      Block block = new Block(address, size, driver.createEvent());
      bytes += size;
      return block;
    } catch (CudaException e) {
      driver.free(address);
      throw e;
    }
  }

  private long allocate(long size, String purpose) {
    while (true) {
      try {
        return driver.allocate(size);
      } catch (CudaException e) {
        if (idle.isEmpty() || e.code() != CudaException.OUT_OF_MEMORY) {
          throw context.explain(e, purpose, size);
        }
        freeIdle();
      }
    }
  }

  /** Takes a block back; all work that uses it has been queued. */
  void giveBack(Block block) {
    driver.record(block.vacated, context.stream().handle());
    idle.add(block);
  }

  /** Frees what nobody uses. */
  void freeIdle() {
    while (!idle.isEmpty()) {
      free(idle.removeLast());
    }
  }

  /** The driver waits until the device is done with all its work. */
  private void free(Block block) {
    bytes -= block.bytes;
    driver.destroyEvent(block.vacated);
    driver.free(block.address);
  }
}
