package dev.laco.training;

import dev.laco.ByteSize;
import dev.laco.CancelledException;
import dev.laco.DiskRoom;
import dev.laco.ResourceException;
import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * A file without a name in which tensors lie while the memory of a device has others. It is gone
 * when the process ends, however it ends.
 */
final class SwapFile implements AutoCloseable {
  /** Elements that are copied at once. */
  private static final long PIECE = 1 << 20;

  /** Bytes by which the speed of a disk is measured. */
  private static final int MEASURED = 32 << 20;

  private final Backend backend;
  private final Path folder;
  private final FileChannel channel;
  private final MemoryArena memory = new MemoryArena();
  private final Map<DType, HostTensor> pieces = new EnumMap<>(DType.class);
  private long size;

  private SwapFile(Backend backend, Path folder, FileChannel channel) {
    this.backend = backend;
    this.folder = folder;
    this.channel = channel;
  }

  /**
   * Makes a file.
   *
   * @param bytes that it will have
   * @param reserved bytes of the disk that it leaves for the result of the training
   * @throws ResourceException if there is no room for it, or it cannot be made
   */
  static SwapFile create(Backend backend, Path folder, long bytes, long reserved) {
    try {
      long free = free(folder);
      if (free - reserved < bytes) {
        throw new ResourceException(
            folder
                + ": free are "
                + ByteSize.show(free)
                + ", for "
                + ByteSize.show(bytes)
                + " of a training that are kept in a file, beside "
                + ByteSize.show(reserved)
                + " for the result and the states of the training; make room, or train on fewer"
                + " tokens");
      }
      return new SwapFile(backend, folder, temporary(folder));
    } catch (IOException e) {
      throw failed(folder, e);
    }
  }

  /**
   * Whether a file leaves at least as much room on the disk as it takes.
   *
   * @param reserved bytes of the disk that count as taken
   * @throws ResourceException if the folder cannot be made
   */
  static boolean leavesRoom(Path folder, long bytes, long reserved) {
    try {
      return (free(folder) - reserved) / 2 >= bytes;
    } catch (IOException e) {
      throw failed(folder, e);
    }
  }

  private static long free(Path folder) throws IOException {
    Files.createDirectories(folder);
    return DiskRoom.freeBytes(folder);
  }

  /**
   * The bytes that are written and read again in a second in a folder, measured.
   *
   * @throws ResourceException if the folder cannot be written
   */
  static double bytesPerSecond(Path folder) {
    ByteBuffer bytes = ByteBuffer.allocateDirect(MEASURED);
    try {
      Files.createDirectories(folder);
      try (FileChannel file = temporary(folder)) {
        long start = System.nanoTime();
        while (bytes.hasRemaining()) {
          file.write(bytes);
        }
        // What is written again and again reaches the disk in the end.
        file.force(false);
        bytes.clear();
        while (bytes.hasRemaining() && file.read(bytes, bytes.position()) >= 0) {}
        return 2.0 * MEASURED / Math.max(1e-9, Seconds.since(start));
      }
    } catch (IOException e) {
      throw failed(folder, e);
    }
  }

  private static FileChannel temporary(Path folder) throws IOException {
    return FileChannel.open(
        Files.createTempFile(folder, ".laco-", ".swap"),
        StandardOpenOption.READ,
        StandardOpenOption.WRITE,
        StandardOpenOption.DELETE_ON_CLOSE);
  }

  private static ResourceException failed(Path folder, IOException cause) {
    CancelledException.throwIfInterrupted(cause);
    return new ResourceException(
        folder + ": a training cannot keep there what is not in memory: " + cause.getMessage());
  }

  /** A place for the elements of a tensor, which are zeros. */
  long place(Tensor tensor) {
    long offset = size;
    size += tensor.elements() * tensor.dtype().byteSize();
    return offset;
  }

  /** Copies a tensor to its place. */
  void write(Tensor from, long offset) {
    copy(
        from,
        offset,
        (part, piece, at) -> {
          backend.download(part, piece);
          ByteBuffer bytes = piece.data().asByteBuffer();
          while (bytes.hasRemaining()) {
            channel.write(bytes, at + bytes.position());
          }
        });
  }

  /** Copies a tensor from its place. */
  void read(long offset, Tensor to) {
    copy(
        to,
        offset,
        (part, piece, at) -> {
          ByteBuffer bytes = piece.data().asByteBuffer();
          while (bytes.hasRemaining()) {
            if (channel.read(bytes, at + bytes.position()) < 0) {
              // Nothing was written there yet.
              piece.data().asSlice(bytes.position()).fill((byte) 0);
              break;
            }
          }
          backend.copy(backend.weight(piece), part);
          backend.release(List.of(piece));
        });
  }

  /** Copies one piece of a tensor. */
  private interface Copy {
    void of(Tensor part, HostTensor piece, long offset) throws IOException;
  }

  private void copy(Tensor tensor, long offset, Copy copy) {
    DType dtype = tensor.dtype();
    HostTensor room =
        pieces.computeIfAbsent(
            dtype, type -> HostTensor.allocate(memory, "a piece", type, List.of(PIECE, 1L)));
    Tensor elements = tensor.reshape(tensor.elements(), 1);
    try {
      for (long first = 0; first < elements.rows(); first += PIECE) {
        long end = Math.min(first + PIECE, elements.rows());
        copy.of(
            elements.slice(first, end),
            room.rows(0, end - first),
            offset + first * dtype.byteSize());
      }
    } catch (IOException e) {
      throw failed(folder, e);
    }
  }

  @Override
  public void close() {
    memory.close();
    try {
      channel.close();
    } catch (IOException e) {
      throw failed(folder, e);
    }
  }
}
