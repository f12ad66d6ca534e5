package dev.laco.ffi;

import dev.laco.ResourceException;
import java.io.IOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
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
  private final Set<String> failures = new LinkedHashSet<>();
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

  /**
   * A resource, by its absolute name, of the class path or of a module. In a folder of the class
   * path it is loaded where it lies. In a jar it is unpacked: a library of {@code libraries.sha256}
   * into the user's {@link LibraryCache}, any other, or where there is no such cache, into a new
   * folder of this process alone, which is gone again once the library is loaded.
   */
  public LibrarySearch resource(String resource) {
    if (isOpen()) {
      URL url = LibrarySearch.class.getClassLoader().getResource(resource.substring(1));
      if (url == null) {
        failures.add(resource + ": not in the class path");
      } else if (url.getProtocol().equals("file")) {
        openInPlace(url);
      } else {
        openUnpacked(resource, url);
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
          String.format(
              Locale.ROOT,
              "cannot load the native library %s; tried %s; -D%s=FILE names one",
              name,
              String.join("; ", failures),
              property));
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

  private void openUnpacked(String resource, URL url) {
    LibraryCache.hashOf(resource).ifPresent(sha256 -> openCached(url, sha256));
    openTemporary(url, () -> Path.of(System.getProperty("java.io.tmpdir")));
    openTemporary(url, () -> LibraryCache.ofUser().folder());
    if (isOpen()) {
      failures.add(
          String.format(
              Locale.ROOT,
              "unpacking %s takes %s in a folder that is yours alone and allows execution: set TMPDIR or XDG_CACHE_HOME to one",
              LibraryCache.name(url),
              size(url)));
    }
  }

  private void openCached(URL url, String sha256) {
    try {
      Path file = LibraryCache.ofUser().file(url, sha256);
      open(file.toString());
      if (isOpen()) {
        Files.delete(file);
      }
    } catch (IOException e) {
      failures.add(reason(e));
    }
  }

  /** A folder that there may be none of. */
  private interface Place {
    Path folder() throws IOException;
  }

  private void openTemporary(URL url, Place place) {
    if (!isOpen()) {
      return;
    }
    try {
      Path folder = PrivateFolder.makeTemporary(place.folder());
      Path file = folder.resolve(LibraryCache.name(url));
      try {
        LibraryCache.unpack(url, file);
        open(file.toString());
      } finally {
        // A loaded library outlives its name.
        Files.deleteIfExists(file);
        Files.delete(folder);
      }
    } catch (IOException e) {
      failures.add(reason(e));
    }
    if (found != null) {
      found = new NativeLibrary(name, url.toString(), found.handle());
    }
  }

  /** What an exception says; those of files often leave all but the file's name to their class. */
  private static String reason(IOException e) {
    return e instanceof FileSystemException file && file.getReason() == null
        ? file.getMessage() + ": " + file.getClass().getSimpleName().replace("Exception", "")
        : String.valueOf(e.getMessage());
  }

  private static String size(URL url) {
    try {
      return Math.ceilDiv(url.openConnection().getContentLengthLong(), 1_000_000) + " MB";
    } catch (IOException e) {
      return "room";
    }
  }

  private void open(String path) {
    try {
      found = new NativeLibrary(name, path, DynamicLinker.open(path));
    } catch (IOException e) {
      String error = String.valueOf(e.getMessage());
      failures.add(error.startsWith(path) ? error : path + ": " + error);
    }
  }
}
