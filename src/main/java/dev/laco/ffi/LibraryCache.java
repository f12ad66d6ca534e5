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
 * Where native libraries that come in jars lie as files from one run to the next: {@code
 * laco/native/HASH/NAME} in the user's cache folder. Unpacking oneDNN takes a second, hashing it a
 * twentieth. Nothing is believed of what lies there: the folders must be the caller's alone, and a
 * file must have the SHA-256 that this build of the engine knows for it.
 */
final class LibraryCache {
  /** SHA-256 and resource, as {@code sha256sum} prints them. */
  private static final String HASHES = "libraries.sha256";

  private static final int BLOCK = 1 << 20;
  private static final String UNFINISHED = ".new";
  private static final Duration ABANDONED = Duration.ofHours(1);

  private final Path userCache;

  /**
   * @param userCache the user's cache folder, made if it is missing
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

  /** The SHA-256 of a resource that is kept in the cache, empty for one that is not. */
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

  /** The folder that holds one folder for each library; others may be made in it. */
  Path folder() throws IOException {
    Path parent = userCache.getParent();
    if (parent != null && !Files.exists(userCache)) {
      Files.createDirectories(parent);
      PrivateFolder.make(parent.toRealPath(), String.valueOf(userCache.getFileName()));
    }
    // Links above our own folder are the user's business; what they lead to is checked.
    return PrivateFolder.make(PrivateFolder.make(userCache.toRealPath(), "laco"), "native");
  }

  /**
   * A library as a file whose content was checked just now.
   *
   * @param url where it comes from if the cache does not have it, or has another
   * @throws IOException if there is no cache that can be used; the message says why
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

  /** What processes that were killed while they unpacked left behind. */
  private static void removeAbandoned(Path folder) throws IOException {
    FileTime before = FileTime.from(Instant.now().minus(ABANDONED));
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.filter(f -> f.toString().endsWith(UNFINISHED)).toList()) {
        if (Files.getLastModifiedTime(file).compareTo(before) < 0) {
          Files.deleteIfExists(file);
        }
      }
    } catch (NoSuchFileException e) {
      // Another process has just finished.
    }
  }

  /** The name of the file that a URL ends with. */
  static String name(URL url) {
    return url.getPath().substring(url.getPath().lastIndexOf('/') + 1);
  }

  /** Writes a resource to a file, and says what its SHA-256 is. */
  static String unpack(URL url, Path file) throws IOException {
    try (InputStream in = url.openStream();
        OutputStream out = Files.newOutputStream(file)) {
      return copy(in, out);
    } catch (FileSystemException e) {
      throw e;
    } catch (IOException e) {
      // A full disk, for instance, of which the exception says nothing but that.
      throw new FileSystemException(file.toString(), null, e.getMessage());
    }
  }

  private static String hash(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      return copy(in, OutputStream.nullOutputStream());
    }
  }

  /** Copies all bytes, and says what their SHA-256 is. */
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
