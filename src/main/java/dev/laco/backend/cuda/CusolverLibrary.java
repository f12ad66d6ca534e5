package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;

/**
 * A cuSOLVER library of this machine.
 *
 * @param major version
 * @param minor version
 * @param patch version
 */
record CusolverLibrary(
    NativeLibrary library, LibCusolver functions, int major, int minor, int patch) {
  private static final String HELP =
      "install the CUDA toolkit's cuSOLVER, or get one with: pip install nvidia-cusolver (beside a"
          + " cuBLAS 13) or nvidia-cusolver-cu12 (beside a cuBLAS 12)";

  /**
   * Finds the cuSOLVER of the same CUDA version as a cuBLAS, which cuSOLVER calls. It is looked for
   * in the folder of that cuBLAS, if it was found in one, and in the same places as a cuBLAS.
   *
   * @throws ResourceException if there is none; the message says where it was looked for and how to
   *     get one
   */
  static CusolverLibrary find(CublasLibrary cublas) {
    boolean newest = cublas.major() >= 13;
    String file = newest ? "libcusolver.so.12" : "libcusolver.so.11";
    // cuSOLVER needs two libraries of its own toolkit, of which others have libraries of the same
    // names. Its wheel names their folders; a toolkit may not, but has them in the same folder.
    String linker = newest ? "libnvJitLink.so.13" : "libnvJitLink.so.12";
    LibrarySearch search = new LibrarySearch("cusolver", List.of(linker, "libcusparse.so.12"));
    Path toolkit = Path.of(cublas.library().location()).getParent();
    if (toolkit != null) {
      search.folder(toolkit, file);
    }
    search.soname(file);
    for (Path folder : CudaFolders.libraries("cusolver")) {
      search.folder(folder, file);
    }
    try {
      NativeLibrary library = search.load();
      LibCusolver functions = new LibCusolver(library);
      return new CusolverLibrary(
          library, functions, functions.property(0), functions.property(1), functions.property(2));
    } catch (ResourceException e) {
      throw new ResourceException("no cuSOLVER; " + e.getMessage() + "; " + HELP, e);
    }
  }

  /** Major and minor version: {@code 12.0}. */
  String version() {
    return major + "." + minor;
  }

  /** Version and file of the library, for messages. */
  String description() {
    return String.format(Locale.ROOT, "%s.%d, %s", version(), patch, library.location());
  }
}
