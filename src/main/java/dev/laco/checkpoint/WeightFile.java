package dev.laco.checkpoint;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.checkpoint.table.TableReader;
import dev.laco.checkpoint.table.TensorInfo;
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
 * A file of weights in one of the formats of {@link Container}, mapped as a whole. Its tensors are
 * views into the mapping, valid until {@link #close}. Quantised tensors, and those whose rows have
 * another order in the file, are computed when they are asked for, and valid until {@link #giveUp}.
 *
 * <p>The file's size is compared with its size at opening whenever a tensor is asked for, so that a
 * file truncated in between is an error and not a crash. A file may also shrink between that check
 * and the reading of the bytes. {@link #requireIntact} finds that out if {@link
 * WatchedMapping#survive} was called; otherwise the access fails with the JVM's {@link
 * InternalError}, or, in native code, ends the process.
 */
public final class WeightFile implements TensorSource, AutoCloseable {
  private final Path path;
  private final InputDescriptor file;
  private final Arena arena;
  private final MemorySegment bytes;
  private final MappedPages pages;
  private final WatchedMapping watched;
  private final Map<String, TensorInfo> tensors;
  private final DecodedTensors decoded;

  private WeightFile(Path path, InputDescriptor file, Arena arena, TableReader table)
      throws IOException {
    this.path = path;
    this.file = file;
    this.arena = arena;
    try (FileChannel channel = file.channel()) {
      this.bytes = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
    }
    this.tensors = table.read(path, bytes);
    this.pages = new MappedPages(bytes);
    this.decoded = new DecodedTensors(path, tensors.values(), arena);
    this.watched = new WatchedMapping(bytes);
  }

  /**
   * Opens and checks a file whose container its name tells; symbolic links are followed.
   *
   * @throws BadInputException if there is no such file, or it breaks a rule of the format
   */
  public static WeightFile open(Path path) {
    return open(path, Container.of(path));
  }

  /** Opens and checks a file of the format that {@code table} reads. */
  @SuppressWarnings("MustBeClosedChecker") // the file owns the arena, and close() closes it
  static WeightFile open(Path path, TableReader table) {
    InputDescriptor file = InputDescriptor.open(path);
    Arena arena = Arena.ofShared();
    try {
      return new WeightFile(path, file, arena, table);
    } catch (IOException | RuntimeException e) {
      closeAll(file, arena);
      throw e instanceof IOException io ? InputFile.unreadable(path, io) : (RuntimeException) e;
    }
  }

  /** The path that this file was opened by. */
  public Path path() {
    return path;
  }

  /** The rows of the tensor table, by offset. */
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
   * The bytes of a tensor of any type, as they lie in the file.
   *
   * @throws BadInputException if there is no such tensor, or the size of the file changed since it
   *     was opened
   */
  public MemorySegment bytes(String name) {
    TensorInfo info = info(name);
    requireSameSize();
    return bytes.asSlice(info.offset(), info.byteSize());
  }

  /**
   * {@inheritDoc}
   *
   * @throws BadInputException if there is no such tensor, it is not F32, F16 or BF16, or the size
   *     of the file changed since it was opened
   */
  @Override
  public HostTensor tensor(String name) {
    TensorInfo info = info(name);
    MemorySegment stored = bytes(name);
    if (info.decoder() != null && !decoded.isPresent(name)) {
      decoded.get(info, stored);
      pages.giveUp(info.offset(), info.byteSize());
    }
    return placeOf(name);
  }

  /**
   * A tensor of which only the place in memory may be used: its values are there only if {@link
   * #tensor} was called and {@link #giveUp} was not.
   */
  HostTensor placeOf(String name) {
    TensorInfo info = info(name);
    MemorySegment place = decoded.place(name);
    return new HostTensor(
        name, requireWeight(info), info.shape(), place == null ? bytes(name) : place);
  }

  /** Whether the values of a tensor were computed and not given up. */
  boolean isDecoded(String name) {
    return decoded.isPresent(name);
  }

  /** The element type of a weight; an error for types with which the engine cannot compute. */
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
   * Copies a weight to another file at its current position, file to file where its bytes in this
   * file are the weight.
   *
   * @throws BadInputException if there is no such tensor, or this file changed its size
   * @throws IOException if the target cannot be written
   */
  public void copyTo(String name, FileChannel target) throws IOException {
    TensorInfo info = info(name);
    if (info.decoder() != null) {
      OutputTensor.write(tensor(name).data(), target);
      return;
    }
    copyTo(info.offset(), info.byteSize(), target);
  }

  /**
   * Copies bytes of the file to another file at its current position.
   *
   * @throws BadInputException if this file changed its size
   * @throws IOException if the target cannot be written
   */
  public void copyTo(long offset, long count, FileChannel target) throws IOException {
    requireSameSize();
    try (FileChannel channel = file.channel()) {
      OutputFiles.transfer(path, channel, offset, count, target);
    }
  }

  /**
   * Reads bytes of a tensor from the file and not from the mapping, whose pages would stay in
   * memory.
   *
   * @param offset the first byte, counted from the begin of the tensor
   * @param target the buffer that is filled
   * @throws BadInputException if the file is shorter than it was
   */
  void read(TensorInfo info, long offset, ByteBuffer target) {
    long position = info.offset() + offset;
    try (FileChannel channel = file.channel()) {
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

  /** Reads a tensor into memory, or computes it; see {@link MappedPages#bringIn}. */
  void bringIn(String name) {
    TensorInfo info = info(name);
    if (info.decoder() != null) {
      tensor(name);
    } else {
      pages.bringIn(info.offset(), info.byteSize());
    }
  }

  /**
   * Reads a weight into memory and looks for values that are NaN or infinite.
   *
   * @return true if all values were looked at and are finite; false if one is not, or {@link
   *     #cancel} ended the reading
   */
  boolean bringInFinite(String name) {
    TensorInfo info = info(name);
    DType dtype = requireWeight(info);
    if (info.decoder() != null) {
      return NonFinite.first(dtype, tensor(name).data()) < 0;
    }
    requireSameSize();
    return pages.bringInIf(
        info.offset(), info.byteSize(), piece -> NonFinite.first(dtype, piece) < 0);
  }

  /**
   * Keeps the values of a tensor that is computed, whoever else gives it up, until {@link #letGo}.
   */
  void hold(String name) {
    decoded.hold(name);
  }

  /** Ends one {@link #hold}. */
  void letGo(String name) {
    decoded.letGo(name);
  }

  /**
   * Frees the memory of a tensor's pages in this process. The values of a tensor that is computed
   * stay while a reader holds them.
   *
   * @param fromCacheToo whether the system's page cache shall forget the tensor as well; for files
   *     larger than memory, which would otherwise displace other files
   */
  public void giveUp(String name, boolean fromCacheToo) {
    TensorInfo info = info(name);
    decoded.giveUp(name);
    pages.giveUp(info.offset(), info.byteSize());
    if (fromCacheToo) {
      file.forget(info.offset(), info.byteSize());
    }
  }

  /** Lets a {@link #bringIn} on another thread end early. */
  void cancel() {
    pages.cancel();
  }

  /**
   * Checks that every byte of the mapping that was read until now was in the file.
   *
   * @throws BadInputException if the file was cut short, so that results computed from it are wrong
   */
  public void requireIntact() {
    if (watched.lostPages()) {
      throw new BadInputException(
          file.size() < bytes.byteSize()
              ? path + ": was cut short while it was read: copy the model again"
              : path + ": a part of it could not be read: check the disk, copy the model again");
    }
  }

  private void requireSameSize() {
    requireIntact();
    long now = file.size();
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
      closeAll(file, arena);
    }
  }

  private static void closeAll(InputDescriptor file, Arena arena) {
    arena.close();
    file.close();
  }
}
