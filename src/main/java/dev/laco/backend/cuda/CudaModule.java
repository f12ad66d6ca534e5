package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;

/** The kernels of one fatbin, loaded. */
final class CudaModule extends CudaObject {
  private final String file;
  private final long handle;

  /**
   * Loads a fatbin.
   *
   * @param file name for messages
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
   * An entry of the module.
   *
   * @throws CudaException if there is none of that name
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
