package dev.laco.ffi;

import dev.laco.ResourceException;
import java.lang.foreign.MemorySegment;

/**
 * A loaded native library, which stays loaded until the process ends.
 *
 * @param name the short name, as in the property {@code laco.native.<name>}
 * @param location where the library was found: a file, or a name for which the dynamic linker
 *     searched
 * @param handle the dynamic linker's handle
 */
public record NativeLibrary(String name, String location, MemorySegment handle) {
  /**
   * The address of a function.
   *
   * @throws ResourceException if the library has no function of that name, and so is of another
   *     version
   */
  public MemorySegment function(String symbol) {
    MemorySegment address = DynamicLinker.symbol(handle, symbol);
    if (address.equals(MemorySegment.NULL)) {
      throw new ResourceException(
          location + " has no function " + symbol + ": it is of another version");
    }
    return address;
  }

  @Override
  public String toString() {
    return name + " (" + location + ")";
  }
}
