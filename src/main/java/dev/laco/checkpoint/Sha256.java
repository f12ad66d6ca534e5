package dev.laco.checkpoint;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** Computes the SHA-256 of bytes that are given in parts. */
public final class Sha256 {
  private static final int BLOCK = 1 << 20;

  private final MessageDigest digest;

  /** Begins a hash. */
  public Sha256() {
    try {
      digest = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  /**
   * The hash of a file in hexadecimal digits. Symbolic links are followed.
   *
   * @throws BadInputException if the file is missing or cannot be read
   */
  public static String of(Path file) {
    Sha256 hash = new Sha256();
    try (FileChannel channel = InputFile.open(file)) {
      ByteBuffer buffer = ByteBuffer.allocateDirect(BLOCK);
      while (channel.read(buffer.clear()) >= 0) {
        hash.digest.update(buffer.flip());
      }
    } catch (IOException e) {
      throw InputFile.unreadable(file, e);
    }
    return hash.hex();
  }

  /** Adds bytes. */
  public Sha256 update(byte[] bytes) {
    digest.update(bytes);
    return this;
  }

  /** Adds the remaining bytes of a buffer. */
  public Sha256 update(ByteBuffer bytes) {
    digest.update(bytes);
    return this;
  }

  /** Adds the bytes of a segment of any size. */
  public Sha256 update(MemorySegment data) {
    for (long offset = 0; offset < data.byteSize(); offset += BLOCK) {
      long length = Math.min(BLOCK, data.byteSize() - offset);
      digest.update(data.asSlice(offset, length).asByteBuffer());
    }
    return this;
  }

  /**
   * The hash of all bytes that were added, 64 hexadecimal digits. The next bytes begin another
   * hash.
   */
  public String hex() {
    return HexFormat.of().formatHex(digest.digest());
  }
}
