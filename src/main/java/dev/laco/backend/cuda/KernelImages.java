package dev.laco.backend.cuda;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The compiled CUDA kernels (fatbins). The jar has one set, in a folder named by the oldest CUDA
 * whose drivers load that set; the property {@value #PROPERTY} names a folder whose fatbins are
 * used instead.
 */
final class KernelImages {
  /**
   * The system property with a folder of {@code .fatbin} files to use instead of those in the jar.
   */
  static final String PROPERTY = "laco.cuda.images";

  private final Optional<Path> folder;
  private final int cuda;
  private final int driverVersion;

  /**
   * @param folder of fatbins to use instead of those in the jar
   * @param cuda the major version of the oldest CUDA whose drivers load the fatbins in the jar
   * @param driverVersion as {@link CudaDriver#version}
   */
  KernelImages(Optional<Path> folder, int cuda, int driverVersion) {
    this.folder = folder;
    this.cuda = cuda;
    this.driverVersion = driverVersion;
  }

  /**
   * The fatbins for a driver.
   *
   * @param driverVersion as {@link CudaDriver#version}
   */
  static KernelImages forDriver(int driverVersion) {
    return new KernelImages(
        Optional.ofNullable(System.getProperty(PROPERTY)).map(Path::of),
        isBuilt(13) ? 13 : 12,
        driverVersion);
  }

  private static boolean isBuilt(int cuda) {
    return KernelImages.class.getResource(resource(cuda, Kernel.files().getFirst())) != null;
  }

  private static String resource(int cuda, String file) {
    return "/dev/laco/cuda/" + cuda + "/" + file + ".fatbin";
  }

  /** Where the fatbins come from, for messages. */
  String location() {
    return folder.map(Path::toString).orElse("built in, for drivers from CUDA " + cuda + " on");
  }

  /**
   * Checks that all fatbins exist, and that the driver is new enough for them.
   *
   * @throws NoCudaException if one is missing, or the driver is too old; the message says what to
   *     do
   */
  void require() {
    if (folder.isEmpty() && driverVersion / 1000 < cuda) {
      throw new NoCudaException(
          String.format(
              Locale.ROOT,
              "the CUDA kernels of this build need a driver of CUDA %d or newer, this one supports"
                  + " CUDA %s",
              cuda,
              CudaProbe.version(driverVersion)),
          "update the driver to 580 or newer, or build again after scripts/cuda_toolchain, with"
              + " kernels for drivers from 525 on");
    }
    for (String file : Kernel.files()) {
      try (InputStream in = open(file)) {
        if (in == null) {
          throw new NoCudaException(
              String.format(
                  Locale.ROOT,
                  "this build has no CUDA kernels (%s.fatbin is missing %s)",
                  file,
                  folder.map(path -> "in " + path).orElse("in the jar")),
              "build it after scripts/cuda_toolchain, or with an nvcc on PATH, in CUDA_HOME or in"
                  + " /usr/local/cuda");
        }
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  /** Reads a fatbin. */
  MemorySegment load(String file, Arena arena) {
    try (InputStream in = open(file)) {
      if (in == null) {
        throw new IllegalStateException("no image " + file);
      }
      byte[] bytes = in.readAllBytes();
      // The driver reads a fatbin through aligned pointers. The zero byte at the end terminates an
      // image that is PTX, which is text.
      MemorySegment image = arena.allocate(bytes.length + 1L, 64).asSlice(0, bytes.length);
      MemorySegment.copy(bytes, 0, image, ValueLayout.JAVA_BYTE, 0, bytes.length);
      return image;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private @Nullable InputStream open(String file) throws IOException {
    if (folder.isEmpty()) {
      return KernelImages.class.getResourceAsStream(resource(cuda, file));
    }
    Path path = folder.get().resolve(file + ".fatbin");
    return Files.exists(path) ? Files.newInputStream(path) : null;
  }
}
