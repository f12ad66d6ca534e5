package dev.laco.ffi;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What others can put where native libraries are cached, and that none of it is loaded. */
class LibraryCacheTest {
  private static final String RESOURCE = "/org/bytedeco/dnnl/linux-x86_64/libgomp.so.1";
  private static final URL URL = LibraryCacheTest.class.getResource(RESOURCE);
  private static final String SHA256 = LibraryCache.hashOf(RESOURCE).orElseThrow();

  @TempDir Path folder;
  private LibraryCache cache;

  @BeforeEach
  void openCache() {
    cache = new LibraryCache(folder.resolve("cache"));
  }

  @Test
  void hashesAreThoseOfTheLibrariesInTheClassPath() throws Exception {
    String text;
    try (InputStream in = LibraryCache.class.getResourceAsStream("libraries.sha256")) {
      text = new String(in.readAllBytes(), UTF_8);
    }
    for (String line : text.lines().toList()) {
      String resource = line.substring(line.indexOf("  ") + 2);
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      try (InputStream in =
          new DigestInputStream(
              LibraryCache.class.getClassLoader().getResourceAsStream(resource), digest)) {
        in.transferTo(java.io.OutputStream.nullOutputStream());
      }
      assertEquals(HexFormat.of().formatHex(digest.digest()) + "  " + resource, line);
    }
  }

  @Test
  void unpacksOnceIntoFoldersOfTheOwnerAlone() throws Exception {
    Path file = cache.file(URL, SHA256);
    assertEquals(
        folder.toRealPath().resolve("cache/laco/native/" + SHA256 + "/libgomp.so.1"), file);
    assertArrayEquals(original(), Files.readAllBytes(file));
    assertEquals(List.of("libgomp.so.1"), names(file.getParent()));
    for (Path above = file.getParent(); !above.equals(folder); above = above.getParent()) {
      assertEquals(
          "rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(above)));
    }
    Object inode = Files.getAttribute(file, "unix:ino");
    assertEquals(file, cache.file(URL, SHA256));
    assertEquals(inode, Files.getAttribute(file, "unix:ino"));
  }

  @Test
  void anotherLibraryOfTheSameSizeAndTimeIsReplaced() throws Exception {
    Path file = cache.file(URL, SHA256);
    byte[] planted = Files.readAllBytes(file);
    FileTime time = Files.getLastModifiedTime(file);
    planted[planted.length / 2] ^= 1;
    Files.write(file, planted);
    Files.setLastModifiedTime(file, time);
    assertArrayEquals(original(), Files.readAllBytes(cache.file(URL, SHA256)));
  }

  @Test
  void aLinkToALibraryIsReplaced() throws Exception {
    Path file = cache.file(URL, SHA256);
    Path elsewhere = Files.move(file, folder.resolve("elsewhere"));
    Files.createSymbolicLink(file, elsewhere);
    assertFalse(Files.isSymbolicLink(cache.file(URL, SHA256)));
  }

  @Test
  void aFileThatOthersCanWriteToIsReplaced() throws Exception {
    Path file = cache.file(URL, SHA256);
    permit(file, "rw-rw-rw-");
    assertFalse(
        Files.getPosixFilePermissions(cache.file(URL, SHA256)).toString().contains("OTHERS"));
  }

  @Test
  void aFolderThatIsALinkIsNotUsed() throws Exception {
    Path elsewhere = Files.createDirectory(folder.resolve("elsewhere"));
    Files.createSymbolicLink(
        Files.createDirectory(folder.resolve("cache")).resolve("laco"), elsewhere);
    assertRefused("cache/laco: is no folder");
    assertEquals(List.of(), names(elsewhere));
  }

  @Test
  void aFolderThatOthersCanWriteToIsNotUsed() throws Exception {
    Path native_ = cache.folder();
    permit(native_, "rwxrwx---");
    assertRefused("cache/laco/native: others can write to it");
    permit(native_, "rwx------");
    permit(folder.resolve("cache/laco"), "rwx----w-");
    assertRefused("cache/laco: others can write to it");
  }

  @Test
  void aFolderThatOthersCanRenameIsNotUsed() throws Exception {
    permit(Files.createDirectory(folder.resolve("cache")), "rwxrwxrwx");
    assertRefused("cache: others can rename what lies in it (it is not sticky)");
    Files.setAttribute(folder.resolve("cache"), "unix:mode", 01777);
    assertTrue(Files.exists(cache.file(URL, SHA256)));
  }

  @Test
  void aFolderOfAnotherUserIsNotUsed() throws Exception {
    Path laco = folder.resolve("cache/laco");
    cache.folder();
    assumeTrue(isRoot(), "only root can give a folder away");
    Files.setAttribute(laco, "unix:uid", 12345);
    assertRefused("cache/laco: belongs to another user");
    Files.setAttribute(laco, "unix:uid", 0);
    Files.setAttribute(folder.resolve("cache"), "unix:uid", 12345);
    assertRefused("cache: belongs to another user");
  }

  @Test
  void aLinkAboveTheCacheIsTheUsersOwnBusiness() throws Exception {
    Path disk = Files.createDirectory(folder.resolve("disk"));
    Files.createSymbolicLink(folder.resolve("cache"), disk);
    assertTrue(cache.file(URL, SHA256).startsWith(disk.toRealPath()));
  }

  @Test
  void aLibraryThatIsNotTheExpectedOneIsNotKept() throws Exception {
    String other = "0".repeat(64);
    String message = assertThrows(IOException.class, () -> cache.file(URL, other)).getMessage();
    assertTrue(message.endsWith("is not the library that this engine was built with"), message);
    assertEquals(List.of(), names(cache.folder().resolve(other)));
  }

  @Test
  void whatAKilledProcessLeftIsRemoved() throws Exception {
    Path file = cache.file(URL, SHA256);
    Path old = Files.createFile(file.resolveSibling("libgomp.so.1123.new"));
    Files.setLastModifiedTime(old, FileTime.from(Instant.now().minusSeconds(7200)));
    Path young = Files.createFile(file.resolveSibling("libgomp.so.1456.new"));
    Files.delete(file);
    cache.file(URL, SHA256);
    assertFalse(Files.exists(old));
    assertTrue(Files.exists(young));
  }

  @Test
  void aTemporaryFolderIsNotMadeWhereOthersCanRenameIt() throws Exception {
    permit(folder, "rwxrwxrwx");
    assertThrows(IOException.class, () -> PrivateFolder.makeTemporary(folder));
    assertEquals(List.of(), names(folder));
  }

  private void assertRefused(String reason) {
    String message = assertThrows(IOException.class, () -> cache.file(URL, SHA256)).getMessage();
    assertTrue(message.endsWith(reason), message);
  }

  private static byte[] original() throws IOException {
    try (InputStream in = URL.openStream()) {
      return in.readAllBytes();
    }
  }

  private static boolean isRoot() throws IOException {
    return (int) Files.getAttribute(Path.of("/proc/self"), "unix:uid") == 0;
  }

  private static void permit(Path path, String permissions) throws IOException {
    Files.setPosixFilePermissions(path, PosixFilePermissions.fromString(permissions));
  }

  private static List<String> names(Path folder) throws IOException {
    try (var files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }
}
