package dev.laco.backend.cpu;

import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import org.jspecify.annotations.Nullable;

/**
 * The native libraries of the CPU backend, loaded once per process.
 *
 * @param openMp GNU OpenMP, which the other two libraries use: that of the system, else that of the
 *     oneDNN jar
 * @param oneDnn oneDNN
 * @param kernels our C++ kernels
 */
public record CpuLibraries(NativeLibrary openMp, NativeLibrary oneDnn, NativeLibrary kernels) {
  private static final String ONE_DNN = "/org/bytedeco/dnnl/linux-x86_64/";

  private static @Nullable CpuLibraries loaded;

  /**
   * The libraries.
   *
   * @throws dev.laco.ResourceException if one cannot be loaded
   */
  public static synchronized CpuLibraries get() {
    if (loaded == null) {
      loaded = load();
      CpuTier forced = CpuTier.forced();
      if (forced != null) {
        OneDnn.limit(loaded.oneDnn, forced);
      }
    }
    return loaded;
  }

  private static CpuLibraries load() {
    // OpenMP must come first: the other two need libgomp.so.1, for which the dynamic linker takes
    // the library of that name that is loaded.
    return new CpuLibraries(
        new LibrarySearch("gomp").soname("libgomp.so.1").resource(ONE_DNN + "libgomp.so.1").load(),
        new LibrarySearch("dnnl").resource(ONE_DNN + "libdnnl.so.3").soname("libdnnl.so.3").load(),
        new LibrarySearch("laco_cpu")
            .resource("/dev/laco/native/linux-x86_64/liblaco_cpu.so")
            .soname("liblaco_cpu.so")
            .load());
  }
}
