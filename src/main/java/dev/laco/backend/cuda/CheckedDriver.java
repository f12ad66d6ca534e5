package dev.laco.backend.cuda;

/** What both bindings have in common: a status that is not 0 becomes an exception. */
abstract class CheckedDriver implements CudaDriver {
  private boolean poisoned;
  private String lastKernel = "none";

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

  /** Throws unless {@code status}, which {@code call} returned, is 0. */
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
