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
 * The compiled CUDA kernels (fatbins). The jar has one set for drivers of CUDA 13 and one for older
 * drivers; the property {@value #PROPERTY} names a folder whose fatbins are used instead.
 */
final class KernelImages {
  /**
   * The system property with a folder of {@code .fatbin} files to use instead of those in the jar.
   */
  static final String PROPERTY = "laco.cuda.images";

  /** The first driver version that the fatbins of CUDA 13 run on. */
  private static final int CUDA_13 = 13_000;

  private final Optional<Path> folder;
  private final String resources;

  private KernelImages(Optional<Path> folder, String resources) {
    this.folder = folder;
    this.resources = resources;
  }

  /**
   * The fatbins for a driver. A driver of CUDA 13 also runs the older set, if the build has no
   * other.
   *
   * @param driverVersion as {@link CudaDriver#version}
   */
  static KernelImages forDriver(int driverVersion) {
    boolean newest = driverVersion >= CUDA_13 && (isBuilt(13) || !isBuilt(12));
    return new KernelImages(
        Optional.ofNullable(System.getProperty(PROPERTY)).map(Path::of),
        resources(newest ? 13 : 12));
  }

  private static String resources(int cuda) {
    return "/dev/laco/cuda/" + cuda + "/";
  }

  private static boolean isBuilt(int cuda) {
    String any = resources(cuda) + Kernel.files().getFirst() + ".fatbin";
    return KernelImages.class.getResource(any) != null;
  }

  /** Where the fatbins come from, for messages. */
  String location() {
    return folder
        .map(Path::toString)
        .orElse("built in, for CUDA " + resources.replaceAll("\\D", ""));
  }

  /**
   * Checks that all fatbins exist.
   *
   * @throws NoCudaException if one is missing; the message says how to build them
   */
  void require() {
    for (String file : Kernel.files()) {
      try (InputStream in = open(file)) {
        if (in == null) {
          throw new NoCudaException(
              String.format(
                  Locale.ROOT,
                  "this build has no CUDA kernels (%s.fatbin is missing %s)",
                  file,
                  folder.map(path -> "in " + path).orElse("in the jar")),
              "build it with an nvcc on PATH, in CUDA_HOME or in /usr/local/cuda, or with the one that"
                  + " scripts/cuda_toolchain gets");
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
    String name = file + ".fatbin";
    if (folder.isEmpty()) {
      return KernelImages.class.getResourceAsStream(resources + name);
    }
    Path path = folder.get().resolve(name);
    return Files.exists(path) ? Files.newInputStream(path) : null;
  }
}
