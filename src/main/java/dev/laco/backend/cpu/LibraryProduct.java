package dev.laco.backend.cpu;

import dev.laco.backend.MemoryTensor;
import dev.laco.model.DType;

/**
 * A matrix product of oneDNN alone, for programs that measure: called as the backend calls it, but
 * without what the backend has to do around it. It bounds the speed of everything that is made of
 * matrix products.
 */
public final class LibraryProduct implements AutoCloseable {
  private final OneDnn oneDnn;
  private final OneDnn.Product product;
  private final CpuKernels kernels;
  private final int threads;
  private final Scratch scratch = new Scratch();

  /**
   * Prepares {@code out = x weight^T}: {@code x [m, k]}, {@code weight [n, k]}, {@code out [m, n]}
   * f32.
   *
   * @param dtype of {@code x} and {@code weight}
   */
  public LibraryProduct(DType dtype, long m, long n, long k, int threads) {
    CpuLibraries libraries = CpuLibraries.get();
    this.kernels = new CpuKernels(libraries.kernels(), CpuTier.PORTABLE);
    this.threads = threads;
    this.oneDnn = new OneDnn(libraries.oneDnn());
    kernels.setThreads(threads);
    this.product = oneDnn.product(OneDnn.linear(dtype, m, n, k, n));
  }

  /** Computes the product. */
  public void run(MemoryTensor x, MemoryTensor weight, MemoryTensor out) {
    kernels.setThreads(threads);
    product.run(x.data(), weight.data(), out.data(), scratch.atLeast(product.scratchpadBytes()));
  }

  @Override
  public void close() {
    product.close();
    oneDnn.close();
    scratch.close();
  }
}
