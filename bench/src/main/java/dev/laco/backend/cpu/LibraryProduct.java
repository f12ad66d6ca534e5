package dev.laco.backend.cpu;

import dev.laco.backend.MemoryTensor;
import dev.laco.model.DType;

/**
 * A matrix product of oneDNN alone, called as the engine calls it but without what the engine has
 * to do around it: the ceiling of everything that is made of matrix products. In the engine's
 * package for its binding of the library, which is not public.
 */
public final class LibraryProduct implements AutoCloseable {
  private final OneDnn oneDnn;
  private final OneDnn.Product product;
  private final CpuKernels kernels;
  private final int threads;
  private final Scratch scratch = new Scratch();

  /** {@code out = x weight^T}: {@code x [m, k]}, {@code weight [n, k]}, {@code out [m, n]} f32. */
  public LibraryProduct(DType dtype, long m, long n, long k, int threads) {
    CpuLibraries libraries = CpuLibraries.get();
    this.kernels = new CpuKernels(libraries.kernels(), CpuTier.PORTABLE);
    this.threads = threads;
    this.oneDnn = new OneDnn(libraries.oneDnn());
    kernels.setThreads(threads);
    this.product = oneDnn.product(OneDnn.linear(dtype, m, n, k, n));
  }

  /**
   * True if the library has a quick product of bf16 matrices on a tier: f16 it has on few
   * processors.
   */
  public static boolean multipliesBf16(CpuTier tier) {
    return tier == CpuTier.AVX512 && CpuFeature.AVX512_BF16.isPresent();
  }

  /** Threads where the user asks for {@code threads}, 0 for all. */
  public static int threads(int threads) {
    return threads == 0 ? CpuCores.available() : threads;
  }

  /** Computes the product; {@code x} and {@code weight} of its dtype. */
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
