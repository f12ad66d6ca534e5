package dev.laco.backend.cuda;

import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.Setting;
import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import java.util.Locale;
import java.util.function.BiConsumer;

/**
 * Finds out what this machine has of what the CUDA backend needs. The error of a step that fails
 * says what is missing and what the user can do.
 */
public final class CudaProbe {
  /** The oldest driver that has what our kernels and cuBLAS 12 need. */
  private static final int OLDEST_DRIVER = 12_000;

  /** The lowest major compute capability with bf16 tensor cores and asynchronous copies. */
  private static final int OLDEST_MAJOR = 8;

  private static final int NO_DEVICE = 100;

  private CudaProbe() {}

  /** A version of the driver as people write it: {@code 12.4} for 12040. */
  static String version(int version) {
    return version / 1000 + "." + version % 1000 / 10;
  }

  /**
   * Finds and initialises the driver.
   *
   * @throws NoCudaException if there is no driver, the driver is too old, or the driver finds no
   *     device
   */
  static CudaDriver driver(CudaBinding binding) {
    CudaDriver driver = load(binding);
    if (driver.version() < OLDEST_DRIVER) {
      throw new NoCudaException(
          "the NVIDIA driver is too old: it supports CUDA " + version(driver.version()),
          "update it to 525 (CUDA 12.0) or newer");
    }
    try {
      driver.initialize();
    } catch (CudaException e) {
      throw e.code() == NO_DEVICE
          ? noDevice()
          : new NoCudaException(
              "the NVIDIA driver does not start: " + e.template(), "see what nvidia-smi says");
    }
    if (driver.deviceCount() == 0) {
      throw noDevice();
    }
    return driver;
  }

  private static CudaDriver load(CudaBinding binding) {
    NativeLibrary library;
    try {
      library = new LibrarySearch("cuda").soname("libcuda.so.1").load();
    } catch (ResourceException e) {
      throw new NoCudaException("no NVIDIA driver", e.template() + "; install the NVIDIA driver");
    }
    return switch (binding) {
      case FFM -> new FfmDriver(library);
      case JCUDA -> new JcudaDriver(library);
    };
  }

  private static NoCudaException noDevice() {
    return new NoCudaException(
        "the NVIDIA driver sees no GPU",
        "see what nvidia-smi says and whether CUDA_VISIBLE_DEVICES hides it");
  }

  /**
   * Finds a device on which our kernels run.
   *
   * @throws NoCudaException if there is no device of that number, or the device is too old
   */
  static CudaDevice device(CudaDriver driver, int ordinal) {
    int count = driver.deviceCount();
    if (ordinal >= count) {
      throw new NoCudaException(
          "there is no cuda:" + ordinal,
          count == 1 ? "the only device is cuda:0" : "devices are cuda:0 to cuda:" + (count - 1));
    }
    CudaDevice device = CudaDevice.of(driver, ordinal);
    if (device.major() < OLDEST_MAJOR) {
      throw new NoCudaException(
          device + ": kernels need compute capability 8.0",
          "use a card of the Ampere generation (A100, RTX 30) or newer");
    }
    return device;
  }

  /**
   * Reports what this machine has, up to the first thing that is missing.
   *
   * @param say called with the name of each thing and its description
   * @throws ResourceException if no device can be used: what is missing and what to do
   */
  public static void report(BiConsumer<String, String> say) {
    CudaDriver driver = driver(CudaBinding.FFM);
    say.accept("cudaDriver", version(driver.version()) + ", " + driver.library().location());
    for (int ordinal = 0; ordinal < driver.deviceCount(); ordinal++) {
      say.accept("cuda:" + ordinal, CudaDevice.of(driver, ordinal).description());
    }
    say.accept("cudaBinding", "ffm, since it needs no library of its own; " + jcuda());
    requireDevice(driver);
    KernelImages images = KernelImages.forDriver(driver.version());
    images.require();
    say.accept("cudaKernels", images.location());
    CublasLibrary library = CublasLibrary.find(driver.version());
    say.accept(
        "cuBLAS",
        String.format(
            Locale.ROOT,
            "%s.%d, %s",
            library.version(),
            library.patch(),
            library.library().location()));
    say.accept("cuSOLVER", cusolver(library));
    for (ProductOverride override : ProductOverride.of(System.getenv())) {
      say.accept(
          override.variable(),
          override.value()
              + " "
              + override.effect()
              + ", with "
              + Setting.of("compute")
              + " f32, too; unset it");
    }
  }

  /** Throws what is wrong with the first device, if our kernels run on none. */
  private static void requireDevice(CudaDriver driver) {
    NoCudaException first = null;
    for (int ordinal = 0; ordinal < driver.deviceCount(); ordinal++) {
      try {
        device(driver, ordinal);
        return;
      } catch (NoCudaException e) {
        first = first == null ? e : first;
      }
    }
    throw first == null ? noDevice() : first;
  }

  /** Description of cuSOLVER, or of what replaces it: a fit can also solve on the host. */
  private static String cusolver(CublasLibrary cublas) {
    try {
      return CusolverLibrary.find(cublas).description();
    } catch (ResourceException e) {
      return "not found, rules that fit solve on the host: " + e.template();
    }
  }

  private static String jcuda() {
    try {
      load(CudaBinding.JCUDA);
      return "jcuda can be used too";
    } catch (ResourceException e) {
      return e.template();
    }
  }
}
