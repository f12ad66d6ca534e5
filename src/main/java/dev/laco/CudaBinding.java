package dev.laco;

import java.util.Locale;

/** The way in which Java calls the CUDA driver. */
public enum CudaBinding {
  /** Through the foreign functions of the JDK, which need nothing but the driver: the default. */
  FFM,
  /**
   * Through the JNI library of JCuda, which JCuda unpacks into {@code java.io.tmpdir}: that must be
   * a folder that no other user can write to.
   */
  JCUDA;

  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }
}
