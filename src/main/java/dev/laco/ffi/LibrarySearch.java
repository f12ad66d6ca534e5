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
 * Looks for a native library. Each call names a place, and places are tried in the order of the
 * calls until one has a library that loads; the search remembers why each place failed. If the
 * property {@code laco.native.<name>} names a file, only that file is tried, so that a wrong file
 * does not go unnoticed.
 */
public final class LibrarySearch {
  private final String name;
  private final String property;
  private final @Nullable String override;
  private final List<String> companions;
  private final Set<String> failures = new LinkedHashSet<>();
  private @Nullable NativeLibrary found;

  /**
   * Begins the search for a library, with the file that {@code laco.native.<name>} names if it is
   * set.
   */
  public LibrarySearch(String name) {
    this(name, List.of());
  }

  /**
   * Begins the search for a library that needs others.
   *
   * @param companions files that are loaded before the library where they lie in its folder: the
   *     dynamic linker takes what is loaded for what the library needs, and not a library of the
   *     same name from another place
   */
  public LibrarySearch(String name, List<String> companions) {
    this.name = name;
    this.companions = companions;
    this.property = "laco.native." + name;
    this.override = System.getProperty(property);
    if (override != null) {
      open(override);
    }
  }

  /**
   * Tries a name for which the dynamic linker searches: in LD_LIBRARY_PATH, its cache, and the
   * system's folders.
   */
  public LibrarySearch soname(String soname) {
    if (isOpen()) {
      open(soname);
    }
    return this;
  }

  /** Tries a file. */
  public LibrarySearch file(Path file) {
    if (isOpen()) {
      open(file.toString());
    }
    return this;
  }

  /** Tries a folder that may have the library under one of several names, the best name first. */
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
   * Tries a resource, by its absolute name, of the class path or of a module. A resource in a
   * folder is loaded from there. A resource in a jar is unpacked: a library that {@code
   * libraries.sha256} lists into the user's {@link LibraryCache}; any other library, or where the
   * cache cannot be used, into a new private folder, which is deleted once the library is loaded.
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
   * @throws ResourceException if no place has a library that loads; the message lists the places
   *     and why each failed
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

  /** Gives a folder for temporary files. */
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
        // A loaded library stays loaded when its file is deleted.
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

  /**
   * The reason of an error for a message. Errors about files often have only the file's name as
   * their message, and the reason as their class.
   */
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
      for (String companion : companions) {
        Path file = Path.of(path).resolveSibling(companion);
        if (path.contains("/") && Files.exists(file)) {
          DynamicLinker.open(file.toString());
        }
      }
      found = new NativeLibrary(name, path, DynamicLinker.open(path));
    } catch (IOException e) {
      String error = String.valueOf(e.getMessage());
      failures.add(error.startsWith(path) ? error : path + ": " + error);
    }
  }
}
