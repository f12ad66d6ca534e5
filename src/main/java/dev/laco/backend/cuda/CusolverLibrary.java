package dev.laco.backend.cuda;

import dev.laco.ResourceException;
import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import java.nio.file.Path;
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
   * in the same places as a cuBLAS.
   *
   * @throws ResourceException if there is none; the message says where it was looked for and how to
   *     get one
   */
  static CusolverLibrary find(CublasLibrary cublas) {
    boolean newest = cublas.major() >= 13;
    // cuSOLVER needs these two libraries. Its wheel names their folders, but a toolkit that the
    // dynamic linker does not know may not; the linker finds a library by name once it is loaded.
    search("nvjitlink", newest ? "libnvJitLink.so.13" : "libnvJitLink.so.12");
    search("cusparse", "libcusparse.so.12");
    LibrarySearch search = search("cusolver", newest ? "libcusolver.so.12" : "libcusolver.so.11");
    try {
      NativeLibrary library = search.load();
      LibCusolver functions = new LibCusolver(library);
      return new CusolverLibrary(
          library, functions, functions.property(0), functions.property(1), functions.property(2));
    } catch (ResourceException e) {
      throw new ResourceException("no cuSOLVER; " + e.getMessage() + "; " + HELP, e);
    }
  }

  /**
   * Looks for a library, by its name and in the folders of CUDA, and loads it if this machine has
   * it.
   */
  private static LibrarySearch search(String name, String file) {
    LibrarySearch search = new LibrarySearch(name).soname(file);
    for (Path folder : CudaFolders.libraries(name)) {
      search.folder(folder, file);
    }
    return search;
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
