package dev.laco.backend.cuda;

import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import java.nio.file.Path;
import java.util.Locale;

/**
 * A cuBLAS library of this machine.
 *
 * @param major version
 * @param minor version
 * @param patch version
 */
record CublasLibrary(NativeLibrary library, LibCublas functions, int major, int minor, int patch) {
  /** The first driver version that a cuBLAS 13 runs on. */
  private static final int CUDA_13 = 13_000;

  private static final String HELP =
      "install the CUDA toolkit's cuBLAS, or get one with: pip install nvidia-cublas (driver 580 or"
          + " newer) or nvidia-cublas-cu12 (older drivers)";

  /**
   * Finds the newest cuBLAS that runs with the driver: one that the dynamic linker knows, else one
   * of a CUDA toolkit, else one of the wheels of a Python installation.
   *
   * @param driverVersion as {@link CudaDriver#version}
   * @throws NoCudaException if there is none; the message says where it was looked for and how to
   *     get one
   */
  static CublasLibrary find(int driverVersion) {
    String[] names =
        driverVersion >= CUDA_13
            ? new String[] {"libcublas.so.13", "libcublas.so.12"}
            : new String[] {"libcublas.so.12"};
    LibrarySearch search = new LibrarySearch("cublas");
    for (String name : names) {
      search.soname(name);
    }
    for (Path folder : CudaFolders.libraries("cublas")) {
      search.folder(folder, names);
    }
    try {
      NativeLibrary library = search.load();
      LibCublas functions = new LibCublas(library);
      return new CublasLibrary(
          library, functions, functions.property(0), functions.property(1), functions.property(2));
    } catch (ResourceException e) {
      throw new NoCudaException("no cuBLAS", e.getMessage() + "; " + HELP);
    }
  }

  /**
   * Opens the library for a stream: through JCuda if JCuda is the binding and the library is of
   * version 12, the only one that JCuda calls, else through the JDK.
   *
   * @param workspace memory of {@link Cublas#WORKSPACE_BYTES} bytes
   */
  Cublas open(CudaBinding binding, CudaStream stream, DeviceBuffer workspace) {
    try {
      return binding == CudaBinding.JCUDA && major == 12
          ? new JcudaCublas(stream, workspace)
          : new FfmCublas(functions, stream, workspace);
    } catch (CudaException e) {
      throw e.about(String.format(Locale.ROOT, "cuBLAS %s, %s", version(), library.location()));
    }
  }

  /** Major and minor version: {@code 13.1}. */
  String version() {
    return major + "." + minor;
  }
}
