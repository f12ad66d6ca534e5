package dev.laco.apply;

import java.io.IOException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.SecureDirectoryStream;
import java.nio.file.attribute.BasicFileAttributeView;

/**
 * Removes folders with all that is in them. Symbolic links are removed and not followed, even if
 * another process puts one in the place of a folder meanwhile: every entry is named relative to its
 * open folder.
 */
final class Deletion {
  private static final int ATTEMPTS = 200;

  private Deletion() {}

  /**
   * Removes a folder if it exists. If a thread still writes into the folder, the removal is
   * repeated, up to {@value #ATTEMPTS} times.
   */
  static void tree(Path root) throws IOException {
    for (int attempt = 1; Files.exists(root, LinkOption.NOFOLLOW_LINKS); attempt++) {
      try (DirectoryStream<Path> parent = Files.newDirectoryStream(root.resolveSibling(""))) {
        // On Linux, every directory stream is a secure one.
        delete((SecureDirectoryStream<Path>) parent, root.getFileName());
      } catch (DirectoryNotEmptyException e) {
        if (attempt == ATTEMPTS) {
          throw e;
        }
      }
    }
  }

  private static void delete(SecureDirectoryStream<Path> parent, Path name) throws IOException {
    try (SecureDirectoryStream<Path> folder =
        parent.newDirectoryStream(name, LinkOption.NOFOLLOW_LINKS)) {
      for (Path entry : folder) {
        Path inside = entry.getFileName();
        if (isFolder(folder, inside)) {
          delete(folder, inside);
        } else {
          folder.deleteFile(inside);
        }
      }
    }
    parent.deleteDirectory(name);
  }

  private static boolean isFolder(SecureDirectoryStream<Path> parent, Path name)
      throws IOException {
    return parent
        .getFileAttributeView(name, BasicFileAttributeView.class, LinkOption.NOFOLLOW_LINKS)
        .readAttributes()
        .isDirectory();
  }
}
