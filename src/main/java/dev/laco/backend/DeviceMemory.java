package dev.laco.backend;

import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/** A device's memory: tensors and batches of tokens in it, and the ways into and out of it. */
public interface DeviceMemory extends Device {
  /**
   * Makes a weight usable by ops. A device with memory of its own copies the bytes there, unless
   * they are there already; a CPU reads them where they lie.
   *
   * @param tensor of rank 1, which becomes a matrix of one row, or of rank 2
   */
  Tensor weight(HostTensor tensor);

  /**
   * Looks for NaN and infinity in a weight, on a device that {@linkplain
   * dev.laco.DeviceInfo#copiesWeights copies weights}: when {@link #weight} copies it next, or at
   * once where it was copied already.
   *
   * @param found is told whether all values are finite. It is called on the thread that uses the
   *     device, before that thread is given a result for which the weight was used
   */
  default void checkFinite(HostTensor tensor, Consumer<Boolean> found) {
    throw new IllegalStateException("weights are read where they lie");
  }

  /**
   * Makes room for a weight that does not exist yet: ops write its values to the tensor that is
   * returned, and {@link #fetch} copies them to the host. From now on {@link #weight} returns this
   * tensor for the same host tensor, so that a device with memory of its own need not copy what it
   * has made itself. On a CPU the tensor is the host's memory.
   *
   * @param tensor of rank 1, which becomes a matrix of one row, or of rank 2; {@link #weight} was
   *     not called for it since it was last {@linkplain #release released}
   */
  Tensor newWeight(HostTensor tensor);

  /**
   * Begins to copy the values of {@linkplain #newWeight new weights} to their memory on the host,
   * bit for bit, as they are once all ops have run that were called so far. Ops that are called
   * next may run meanwhile, but none may write to these weights. {@link #release} waits for the end
   * of the copies.
   *
   * @param tensors their memory may be used by any thread, and stays until the copies have ended
   * @return is done when all values are on the host, and fails with the error of a copy that failed
   */
  CompletableFuture<Void> fetch(List<HostTensor> tensors);

  /**
   * Says that these weights will not be needed soon, so that a device with memory of its own may
   * use their room for other weights. The tensors that {@link #weight} returned for them become
   * invalid. Asking {@link #weight} for a released weight again is legal. Releasing changes no
   * result.
   */
  default void release(List<HostTensor> tensors) {}

  /** A new arena, in which the caller allocates tensors. */
  TensorArena arena();

  /**
   * Puts packed sequences and their rotary angles into the device's memory.
   *
   * @param tables number of tables of angles: layers may rotate by different angles
   * @param cosine {@code [tables * T * pairs]}: for each token the cosines of its angles
   * @param sine {@code [tables * T * pairs]}: likewise the sines
   * @throws IllegalArgumentException if the arrays' lengths are not equal multiples of {@code
   *     tables * T}, or a token id is negative
   * @throws dev.laco.ResourceException if the device cannot take so many sequences at once
   */
  TokenBatch batch(PackedSequences sequences, int tables, float[] cosine, float[] sine);

  /**
   * {@code to = from}, for tensors of the same number of elements.
   *
   * @param from f32, or of the dtype of {@code to}
   * @param to of any dtype, to which elements are rounded
   */
  void copy(Tensor from, Tensor to);

  /** Sets all elements of a tensor of any dtype to 0. */
  void zero(Tensor to);

  /** Copies the elements of an f32 tensor into an array of exactly so many elements. */
  void download(Tensor from, float[] to);

  /**
   * Copies the elements of a tensor into memory of the host, bit for bit.
   *
   * @param to has the dtype of {@code from} and as many elements
   */
  void download(Tensor from, HostTensor to);

  /** Copies an array into an f32 tensor of exactly so many elements. */
  void upload(float[] from, Tensor to);
}
