package dev.laco.ffi;

import dev.laco.ResourceException;
import java.lang.foreign.MemorySegment;

/**
 * A loaded native library. Libraries stay loaded until the process ends.
 *
 * @param name short name, as in the property {@code laco.native.<name>}
 * @param location where it was found: a file, or the name that the system's search path resolved
 * @param handle of the dynamic linker
 */
public record NativeLibrary(String name, String location, MemorySegment handle) {
  /**
   * The address of a function.
   *
   * @throws ResourceException if the library is of another version and has none of that name
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
