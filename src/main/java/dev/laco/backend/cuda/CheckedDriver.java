package dev.laco.backend.cuda;

import dev.laco.CudaBinding;
import dev.laco.ffi.NativeLibrary;

/**
 * The part of a {@link CudaDriver} that does not depend on the binding: a status other than 0
 * becomes an exception.
 */
abstract class CheckedDriver implements CudaDriver {
  /** The most bytes of a device's name. */
  static final int NAME_LENGTH = 256;

  /** {@code CU_STREAM_NON_BLOCKING}. */
  static final int STREAM_NON_BLOCKING = 1;

  /** {@code CU_EVENT_DISABLE_TIMING}. */
  static final int EVENT_DISABLE_TIMING = 2;

  /** {@code CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES}. */
  static final int STATIC_SHARED_BYTES = 1;

  /** {@code CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES}. */
  static final int MAX_DYNAMIC_SHARED_BYTES = 8;

  private final CudaBinding binding;
  private final NativeLibrary library;
  private volatile boolean poisoned;
  private volatile String lastKernel = "none";

  /**
   * @param library the driver
   */
  CheckedDriver(CudaBinding binding, NativeLibrary library) {
    this.binding = binding;
    this.library = library;
  }

  @Override
  public final CudaBinding binding() {
    return binding;
  }

  @Override
  public final NativeLibrary library() {
    return library;
  }

  /** The symbolic name of a status, empty if the driver has none. */
  abstract String errorName(int status);

  /** What the driver says about a status, empty if nothing. */
  abstract String errorText(int status);

  @Override
  public final boolean isPoisoned() {
    return poisoned;
  }

  @Override
  public final void launching(String kernel) {
    lastKernel = kernel;
  }

  /** As {@link #check(String, int)}, with what the driver's compiler said. */
  final void check(String call, int status, JitLog log) {
    try {
      check(call, status);
    } catch (CudaException e) {
      throw log.explain(e);
    }
  }

  /** Throws unless the status that the function {@code call} returned is 0. */
  final void check(String call, int status) {
    if (status != 0) {
      CudaException e = new CudaException(call, status, errorName(status), errorText(status));
      if (CudaException.isSticky(status)) {
        poisoned = true;
        throw e.about("kernels were launched up to " + lastKernel);
      }
      throw e;
    }
  }
}
