package dev.laco.checkpoint;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.ffi.WatchedMapping;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NonFinite;
import dev.laco.model.TensorSource;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Locale;
import java.util.Map;

/**
 * One safetensors file, mapped whole. Its tensors are views into the mapping, valid until {@link
 * #close}.
 *
 * <p>The file's size is compared with its size at opening whenever a tensor is asked for, so that a
 * file truncated in between is an error and not a crash. A file that shrinks between that check and
 * the reading of the bytes is found by {@link #requireIntact} where {@link WatchedMapping#survive}
 * was called; elsewhere the access fails with the JVM's {@link InternalError}, or, in native code,
 * ends the process.
 */
public final class SafetensorsFile implements TensorSource, AutoCloseable {
  private final Path path;
  private final FileChannel channel;
  private final Arena arena;
  private final MemorySegment bytes;
  private final MappedPages pages;
  private final WatchedMapping watched;
  private final Map<String, TensorInfo> tensors;

  private SafetensorsFile(Path path, FileChannel channel, Arena arena) throws IOException {
    this.path = path;
    this.channel = channel;
    this.arena = arena;
    this.bytes = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
    this.tensors = SafetensorsHeader.read(path, bytes);
    this.pages = new MappedPages(path, bytes);
    this.watched = new WatchedMapping(bytes);
  }

  /**
   * Opens and checks a file; symbolic links are followed.
   *
   * @throws BadInputException if there is no such file, or it breaks a rule of the format
   */
  @SuppressWarnings("MustBeClosedChecker") // the file owns the arena, and close() closes it
  public static SafetensorsFile open(Path path) {
    FileChannel channel = InputFile.open(path);
    Arena arena = Arena.ofShared();
    try {
      return new SafetensorsFile(path, channel, arena);
    } catch (IOException | RuntimeException e) {
      closeAll(path, channel, arena);
      throw e instanceof IOException io ? InputFile.unreadable(path, io) : (RuntimeException) e;
    }
  }

  /** The path that this file was opened by. */
  public Path path() {
    return path;
  }

  /** The tensor table, in the order of the bytes. */
  public Collection<TensorInfo> tensors() {
    return tensors.values();
  }

  /**
   * A row of the tensor table.
   *
   * @throws BadInputException if the file holds no such tensor
   */
  public TensorInfo info(String name) {
    TensorInfo info = tensors.get(name);
    if (info == null) {
      throw new BadInputException(
          String.format(Locale.ROOT, "%s: tensor '%s' is missing", path, name));
    }
    return info;
  }

  /**
   * A tensor of any type, as it lies in the file.
   *
   * @throws BadInputException if there is none, or the file changed its size since it was opened
   */
  public MemorySegment bytes(String name) {
    TensorInfo info = info(name);
    requireSameSize();
    return bytes.asSlice(info.offset(), info.byteSize());
  }

  /**
   * {@inheritDoc}
   *
   * @throws BadInputException if there is none, it is not F32, F16 or BF16, or the file changed its
   *     size since it was opened
   */
  @Override
  public HostTensor tensor(String name) {
    TensorInfo info = info(name);
    return new HostTensor(name, requireWeight(info), info.shape(), bytes(name));
  }

  /** The type of a tensor that is to be computed with. */
  DType requireWeight(TensorInfo info) {
    DType dtype = info.type().dtype();
    if (dtype == null) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s' is %s; only F32, F16 and BF16 weights are supported",
              path,
              info.name(),
              info.type()));
    }
    return dtype;
  }

  /**
   * Copies a tensor's bytes to another file at its current position, file to file.
   *
   * @throws BadInputException if there is no such tensor, or this file changed its size
   * @throws IOException if the target cannot be written
   */
  public void copyTo(String name, FileChannel target) throws IOException {
    TensorInfo info = info(name);
    requireSameSize();
    OutputFiles.transfer(path, channel, info.offset(), info.byteSize(), target);
  }

  /**
   * Reads bytes of a tensor without touching the mapping, whose pages would stay in memory.
   *
   * @param offset first byte, counted from the tensor's
   * @param target filled
   * @throws BadInputException if the file is shorter than it was
   */
  void read(TensorInfo info, long offset, ByteBuffer target) {
    long position = info.offset() + offset;
    try {
      while (target.hasRemaining()) {
        int count = channel.read(target, position);
        if (count < 0) {
          throw new BadInputException(
              String.format(
                  Locale.ROOT,
                  "%s: ends before byte %d; it was truncated while in use",
                  path,
                  position + target.remaining()));
        }
        position += count;
      }
    } catch (IOException e) {
      throw InputFile.unreadable(path, e);
    }
  }

  /** Reads a tensor into memory; see {@link MappedPages#bringIn}. */
  void bringIn(String name) {
    TensorInfo info = info(name);
    pages.bringIn(info.offset(), info.byteSize());
  }

  /**
   * Reads a weight into memory and looks for values that are NaN or infinite.
   *
   * @return whether there was time to look at all of it, and it has none
   */
  boolean bringInFinite(String name) {
    TensorInfo info = info(name);
    DType dtype = requireWeight(info);
    requireSameSize();
    return pages.bringInIf(
        info.offset(), info.byteSize(), piece -> NonFinite.first(dtype, piece) < 0);
  }

  /** Lets a tensor's memory go; see {@link MappedPages#giveUp}. */
  public void giveUp(String name, boolean fromCacheToo) {
    TensorInfo info = info(name);
    pages.giveUp(info.offset(), info.byteSize(), fromCacheToo);
  }

  /** Begins to end a {@link #bringIn} of another thread. */
  void cancel() {
    pages.cancel();
  }

  /**
   * Checks that everything that was read of the mapping until now was there.
   *
   * @throws BadInputException if not: what was computed from it is worthless
   */
  public void requireIntact() {
    if (watched.lostPages()) {
      throw new BadInputException(
          size() < bytes.byteSize()
              ? path + ": was cut short while it was read: copy the model again"
              : path + ": a part of it could not be read: check the disk, copy the model again");
    }
  }

  private long size() {
    try {
      return channel.size();
    } catch (IOException e) {
      throw InputFile.unreadable(path, e);
    }
  }

  private void requireSameSize() {
    requireIntact();
    long now = size();
    if (now != bytes.byteSize()) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: was %d bytes when it was opened and is %d now; do not change a checkpoint in use",
              path,
              bytes.byteSize(),
              now));
    }
  }

  @Override
  public void close() {
    if (arena.scope().isAlive()) {
      watched.close();
      closeAll(path, channel, arena);
    }
  }

  private static void closeAll(Path path, FileChannel channel, Arena arena) {
    arena.close();
    try {
      channel.close();
    } catch (IOException e) {
      throw InputFile.unreadable(path, e);
    }
  }
}
