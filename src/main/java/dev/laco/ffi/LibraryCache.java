package dev.laco.ffi;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URL;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Keeps native libraries that come in jars as files from one run to the next, as {@code
 * laco/native/HASH/NAME} in the user's cache folder. Unpacking oneDNN takes a second, hashing it a
 * twentieth of a second. A file in the cache is used only if no other user can write to its
 * folders, and if its SHA-256 is the one that this build of the engine has for the library.
 */
final class LibraryCache {
  /** The resource with the SHA-256 and name of each library, in the format of {@code sha256sum}. */
  private static final String HASHES = "libraries.sha256";

  private static final int BLOCK = 1 << 20;
  private static final String UNFINISHED = ".new";
  private static final Duration ABANDONED = Duration.ofHours(1);

  private final Path userCache;

  /**
   * @param userCache the user's cache folder, which is made if it does not exist
   */
  LibraryCache(Path userCache) {
    this.userCache = userCache;
  }

  /**
   * The cache of the user who runs this process, in {@code XDG_CACHE_HOME} or {@code ~/.cache}.
   *
   * @throws FileNotFoundException if the user has no home folder
   */
  static LibraryCache ofUser() throws FileNotFoundException {
    Path xdg = Path.of(Optional.ofNullable(System.getenv("XDG_CACHE_HOME")).orElse(""));
    if (xdg.isAbsolute()) {
      return new LibraryCache(xdg);
    }
    Path home = Path.of(System.getProperty("user.home"));
    if (!home.isAbsolute() || !Files.isDirectory(home)) {
      throw new FileNotFoundException("there is no home folder (" + home + ")");
    }
    return new LibraryCache(home.resolve(".cache"));
  }

  /** The SHA-256 of a resource that the cache keeps; empty for other resources. */
  static Optional<String> hashOf(String resource) {
    try (InputStream in = LibraryCache.class.getResourceAsStream(HASHES)) {
      if (in == null) {
        throw new IOException(HASHES + " is not in the class path");
      }
      return new String(in.readAllBytes(), UTF_8)
          .lines()
          .filter(line -> line.endsWith("  " + resource.substring(1)))
          .map(line -> line.substring(0, line.indexOf(' ')))
          .findFirst();
    } catch (IOException e) {
      throw new IllegalStateException("the engine's own jar cannot be read", e);
    }
  }

  /** The folder that has a folder for each library. */
  Path folder() throws IOException {
    Path parent = userCache.getParent();
    if (parent != null && !Files.exists(userCache)) {
      Files.createDirectories(parent);
      PrivateFolder.make(parent.toRealPath(), String.valueOf(userCache.getFileName()));
    }
    // Links above the folder laco are followed, and the folders that they lead to are checked.
    return PrivateFolder.make(PrivateFolder.make(userCache.toRealPath(), "laco"), "native");
  }

  /**
   * The file of a library, whose content was checked by this call. Unpacks the library if the cache
   * lacks it.
   *
   * @param url the resource that is unpacked if the cache lacks the library or has another file in
   *     its place
   * @param sha256 the library's SHA-256
   * @throws IOException if the cache cannot be used; the message says why
   */
  Path file(URL url, String sha256) throws IOException {
    Path folder = PrivateFolder.make(folder(), sha256);
    Path file = folder.resolve(name(url));
    if (!PrivateFolder.holdsFile(file) || !hash(file).equals(sha256)) {
      removeAbandoned(folder);
      Path unfinished = Files.createTempFile(folder, name(url), UNFINISHED);
      try {
        if (!unpack(url, unfinished).equals(sha256)) {
          throw new FileSystemException(
              url.toString(), null, "is not the library that this engine was built with");
        }
        Files.move(unfinished, file, StandardCopyOption.ATOMIC_MOVE);
      } finally {
        Files.deleteIfExists(unfinished);
      }
    }
    return file;
  }

  /** Removes the files of processes that were killed while they unpacked. */
  private static void removeAbandoned(Path folder) throws IOException {
    FileTime before = FileTime.from(Instant.now().minus(ABANDONED));
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.filter(f -> f.toString().endsWith(UNFINISHED)).toList()) {
        if (Files.getLastModifiedTime(file).compareTo(before) < 0) {
          Files.deleteIfExists(file);
        }
      }
    } catch (NoSuchFileException e) {
      // Another process has just renamed or removed its file.
    }
  }

  /** The last part of a URL's path, a file name. */
  static String name(URL url) {
    return url.getPath().substring(url.getPath().lastIndexOf('/') + 1);
  }

  /** Writes a resource to a file, and gives its SHA-256. */
  static String unpack(URL url, Path file) throws IOException {
    try (InputStream in = url.openStream();
        OutputStream out = Files.newOutputStream(file)) {
      return copy(in, out);
    } catch (FileSystemException e) {
      throw e;
    } catch (IOException e) {
      // Of a full disk, for instance, the exception does not name the file.
      throw new FileSystemException(file.toString(), null, e.getMessage());
    }
  }

  private static String hash(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      return copy(in, OutputStream.nullOutputStream());
    }
  }

  /** Copies all bytes, and gives their SHA-256. */
  private static String copy(InputStream in, OutputStream out) throws IOException {
    MessageDigest digest = sha256();
    byte[] block = new byte[BLOCK];
    for (int count = in.read(block); count >= 0; count = in.read(block)) {
      digest.update(block, 0, count);
      out.write(block, 0, count);
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
