package dev.laco.ffi;

import dev.laco.ResourceException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.javacpp.Loader;
import org.jspecify.annotations.Nullable;

/**
 * Looks for a native library and remembers each place and why it failed. Places are tried in the
 * order of the calls. The property {@code laco.native.<name>}, a file, takes precedence over all of
 * them: when it is set nothing else is tried, so that a wrong override is never mistaken for a
 * right one.
 */
public final class LibrarySearch {
  private final String name;
  private final String property;
  private final @Nullable String override;
  private final List<String> failures = new ArrayList<>();
  private @Nullable NativeLibrary found;

  /** A search for the library that {@code laco.native.<name>} overrides. */
  public LibrarySearch(String name) {
    this.name = name;
    this.property = "laco.native." + name;
    this.override = System.getProperty(property);
    if (override != null) {
      open(override);
    }
  }

  /** A name for the system's own search: LD_LIBRARY_PATH, the linker's cache, the usual folders. */
  public LibrarySearch soname(String soname) {
    if (isOpen()) {
      open(soname);
    }
    return this;
  }

  /** A file. */
  public LibrarySearch file(Path file) {
    if (isOpen()) {
      open(file.toString());
    }
    return this;
  }

  /** A folder that may have the library under one of several names, the best first. */
  public LibrarySearch folder(Path folder, String... names) {
    if (isOpen()) {
      List<Path> present = Arrays.stream(names).map(folder::resolve).filter(Files::exists).toList();
      if (present.isEmpty()) {
        failures.add(folder + ": has none");
      }
      present.forEach(this::file);
    }
    return this;
  }

  /** A resource of the class path that JavaCPP unpacks into its cache, beside others of its jar. */
  public LibrarySearch cachedResource(String resource) {
    if (isOpen()) {
      URL url = LibrarySearch.class.getResource(resource);
      if (url == null) {
        failures.add(resource + ": not in the class path");
        return this;
      }
      try {
        open(Loader.cacheResource(url).toString());
      } catch (IOException e) {
        failures.add(resource + ": cannot be unpacked: " + e.getMessage());
      }
    }
    return this;
  }

  /**
   * A resource of the class path that is unpacked for this process alone. That suits a small
   * library which is built again and again: a cache that knows files by size and time would give an
   * old one.
   */
  public LibrarySearch resource(String resource) {
    if (isOpen()) {
      URL url = LibrarySearch.class.getResource(resource);
      if (url == null) {
        failures.add(resource + ": not in the class path");
      } else if (url.getProtocol().equals("file")) {
        openInPlace(url);
      } else {
        unpack(resource, url);
      }
    }
    return this;
  }

  /**
   * The library.
   *
   * @throws ResourceException if no place had one that loads; the message lists them all
   */
  public NativeLibrary load() {
    if (found == null) {
      throw new ResourceException(
          "cannot load the native library %s; tried %s; -D%s=FILE names one"
              .formatted(name, String.join("; ", failures), property));
    }
    return found;
  }

  private boolean isOpen() {
    return found == null && override == null;
  }

  private void openInPlace(URL url) {
    try {
      open(Path.of(url.toURI()).toString());
    } catch (URISyntaxException e) {
      failures.add(url + ": " + e.getMessage());
    }
  }

  private void unpack(String resource, URL url) {
    try (var in = url.openStream()) {
      Path file = Files.createTempFile("laco-", ".so");
      try {
        Files.write(file, in.readAllBytes());
        open(file.toString());
      } finally {
        // A mapped library outlives its name.
        Files.delete(file);
      }
      if (found != null) {
        found = new NativeLibrary(name, url.toString(), found.handle());
      }
    } catch (IOException e) {
      failures.add(resource + ": cannot be unpacked: " + e.getMessage());
    }
  }

  private void open(String path) {
    MemorySegment handle = DynamicLinker.open(path);
    if (handle.equals(MemorySegment.NULL)) {
      String error = DynamicLinker.error();
      failures.add(error.startsWith(path) ? error : path + ": " + error);
    } else {
      found = new NativeLibrary(name, path, handle);
    }
  }
}
