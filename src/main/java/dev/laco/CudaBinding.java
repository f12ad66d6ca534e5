package dev.laco;

import java.util.Locale;

/** How the CUDA driver is called. */
public enum CudaBinding {
  /** Foreign functions of the JDK: needs nothing but the driver, so it is the default. */
  FFM,
  /**
   * JCuda's JNI library, which JCuda unpacks into {@code java.io.tmpdir}: that must be a folder
   * that no other user can write to.
   */
  JCUDA;

  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }
}
