package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import java.util.Locale;
import java.util.Set;

/**
 * A call of the driver or of cuBLAS that failed. The message carries the call, its code, the code's
 * name and text, and what the call was about.
 */
public final class CudaException extends ResourceException {
  private static final long serialVersionUID = 1L;

  /** {@code CUDA_ERROR_OUT_OF_MEMORY}. */
  static final int OUT_OF_MEMORY = 2;

  /**
   * Errors after which every call of the context fails, as the driver's documentation says:
   * uncorrectable error of memory (ECC) or NVLink, contained hardware error, illegal address,
   * launch timeout, context destroyed, assert, hardware stack, illegal instruction, misaligned
   * address, invalid address space, invalid program counter, launch failed, tensor memory leak, MPS
   * client terminated, external device, and what the driver does not know itself.
   */
  private static final Set<Integer> STICKY =
      Set.of(214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, 999);

  private final int code;

  /**
   * @param call C function
   * @param code what it returned
   * @param name symbolic name of the code, empty if the library has none
   * @param text what the library says about it
   */
  CudaException(String call, int code, String name, String text) {
    super(
        name.isEmpty()
            ? String.format(Locale.ROOT, "%s: error %d", call, code)
            : String.format(Locale.ROOT, "%s: %s (%d), %s", call, name, code, text));
    this.code = code;
  }

  private CudaException(CudaException cause, String context) {
    super(cause.template() + "; " + context, cause);
    this.code = cause.code;
  }

  /** The same error, with more of what it was about. */
  CudaException about(String context) {
    return new CudaException(this, context);
  }

  /**
   * {@code CUDA_ERROR_NO_BINARY_FOR_GPU}: no machine code for the device; {@code
   * CUDA_ERROR_UNSUPPORTED_PTX_VERSION}: none, and the driver is too old for the PTX.
   */
  boolean isOfImage() {
    return code == 209 || code == 222;
  }

  int code() {
    return code;
  }

  /** True if the context is dead after an error of this code. */
  static boolean isSticky(int code) {
    return STICKY.contains(code);
  }
}
