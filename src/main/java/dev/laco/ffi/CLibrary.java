package dev.laco.ffi;

import dev.laco.ResourceException;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;

/** The functions of the C library that the Java runtime itself runs on. */
public final class CLibrary {
  private CLibrary() {}

  /**
   * The address of a function.
   *
   * @throws ResourceException if the runtime cannot look the function up, for instance because the
   *     process may open no more files
   */
  public static MemorySegment function(String name) {
    try {
      return Linker.nativeLinker().defaultLookup().findOrThrow(name);
    } catch (RuntimeException | LinkageError e) {
      throw new ResourceException("the C library's function " + name + " is not found: " + e, e);
    }
  }
}
