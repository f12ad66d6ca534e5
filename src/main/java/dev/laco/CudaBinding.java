package dev.laco;

import java.util.Locale;

/** How the CUDA driver is called. */
public enum CudaBinding {
  /** Foreign functions of the JDK: needs nothing but the driver, so it is the default. */
  FFM,
  /** JCuda's JNI library, unpacked into a temporary folder. */
  JCUDA;

  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT);
  }
}
