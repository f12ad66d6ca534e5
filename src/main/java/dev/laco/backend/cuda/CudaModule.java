package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;

/** A loaded fatbin, with its kernels. */
final class CudaModule extends CudaObject {
  private final String file;
  private final long handle;

  /**
   * Loads a fatbin.
   *
   * @param file name of the fatbin, for messages
   */
  CudaModule(CudaContext context, String file, MemorySegment image) {
    super(context);
    this.file = file;
    try {
      this.handle = driver().loadModule(image);
    } catch (CudaException e) {
      throw context.explain(e, "kernels of " + file, image.byteSize());
    }
    opened();
  }

  /**
   * The handle of a kernel.
   *
   * @throws CudaException if the fatbin has no kernel of that name
   */
  long function(String name) {
    requireOpen();
    try {
      return driver().function(handle, name);
    } catch (CudaException e) {
      throw e.about(name + " in " + file);
    }
  }

  @Override
  void release() {
    driver().unloadModule(handle);
  }
}
