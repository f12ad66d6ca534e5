package dev.laco.backend.cuda;

import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import java.util.List;

/**
 * A mixed matrix that is never stored: the kernel that multiplies by the matrix mixes it tile by
 * tile. It has no memory, so that {@link CudaBackend#linear} is the only op that takes it.
 *
 * @param mix how the matrix is mixed, and its shape
 * @param sources the sources of the mix, all of one 16-bit dtype
 */
record MixedMatrix(TensorMix mix, List<CudaTensor> sources) implements Tensor {
  @Override
  public DType dtype() {
    return mix.out().dtype();
  }

  @Override
  public long rows() {
    return mix.out().rows();
  }

  @Override
  public long columns() {
    return mix.out().columns();
  }

  @Override
  public Tensor slice(long from, long to) {
    List<CudaTensor> rows = sources.stream().map(source -> source.slice(from, to)).toList();
    return new MixedMatrix(
        new TensorMix(mix.out().slice(from, to), mix.coefficients(), List.copyOf(rows)), rows);
  }

  @Override
  public Tensor reshape(long rows, long columns) {
    throw withoutMemory();
  }

  @Override
  public Tensor view(DType dtype, long rows, long columns) {
    throw withoutMemory();
  }

  private static UnsupportedOperationException withoutMemory() {
    return new UnsupportedOperationException("a matrix that is mixed in a product has no memory");
  }
}
