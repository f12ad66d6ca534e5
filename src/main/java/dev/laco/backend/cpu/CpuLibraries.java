package dev.laco.backend.cpu;

import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import org.jspecify.annotations.Nullable;

/**
 * The native libraries of the CPU backend, loaded once per process.
 *
 * @param openMp GNU OpenMP, which both others share; the system's, else the one that comes with
 *     oneDNN
 * @param oneDnn oneDNN
 * @param kernels our own
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
    // The order matters: the dynamic linker meets a need for libgomp.so.1 with the one that is
    // loaded.
    return new CpuLibraries(
        new LibrarySearch("gomp").soname("libgomp.so.1").resource(ONE_DNN + "libgomp.so.1").load(),
        new LibrarySearch("dnnl").resource(ONE_DNN + "libdnnl.so.3").soname("libdnnl.so.3").load(),
        new LibrarySearch("laco_cpu")
            .resource("/dev/laco/native/linux-x86_64/liblaco_cpu.so")
            .soname("liblaco_cpu.so")
            .load());
  }
}
