package dev.laco;

import java.nio.file.Path;

/** The room that is left on a disk. */
public final class DiskRoom {
  private DiskRoom() {}

  /**
   * Bytes that may still be written in a folder. Not from {@code FileStore}, which looks for the
   * folder's mount point and finds none in a chroot.
   */
  public static long freeBytes(Path folder) {
    return folder.toFile().getUsableSpace();
  }
}
