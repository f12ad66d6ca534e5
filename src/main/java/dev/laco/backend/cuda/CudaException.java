package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import java.util.Locale;
import java.util.Set;

/**
 * A failed call of the driver, cuBLAS or cuSOLVER. The message has the function, the status code
 * with its name and text, and the purpose of the call.
 */
public final class CudaException extends ResourceException {
  private static final long serialVersionUID = 1L;

  /** {@code CUDA_ERROR_OUT_OF_MEMORY}. */
  static final int OUT_OF_MEMORY = 2;

  /**
   * Status codes after which every call in the context fails, by the driver's documentation:
   * uncorrectable error of memory (ECC) or NVLink, contained hardware error, illegal address,
   * launch timeout, context destroyed, assert, hardware stack, illegal instruction, misaligned
   * address, invalid address space, invalid program counter, launch failed, tensor memory leak, MPS
   * client terminated, external device, unknown error.
   */
  private static final Set<Integer> STICKY =
      Set.of(214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, 999);

  private final int code;

  /**
   * @param call name of the C function
   * @param code the status that the function returned
   * @param name symbolic name of the status, empty if the library has none
   * @param text description of the status by the library
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

  /** The same error with more about its circumstances in the message. */
  CudaException about(String context) {
    return new CudaException(this, context);
  }

  /**
   * Whether the kernels of this build cannot run on the device: {@code
   * CUDA_ERROR_NO_BINARY_FOR_GPU}, they have no machine code for the device; {@code
   * CUDA_ERROR_UNSUPPORTED_PTX_VERSION}, nor can the driver translate their PTX, for which it is
   * too old.
   */
  boolean isOfImage() {
    return code == 209 || code == 222;
  }

  int code() {
    return code;
  }

  /** Whether the context cannot be used any more after an error with this status. */
  static boolean isSticky(int code) {
    return STICKY.contains(code);
  }
}
