package dev.laco.checkpoint;

import dev.laco.ByteSize;
import dev.laco.ResourceException;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.ffi.AnonymousMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The weights of a file that are computed from the file's bytes. Each has a fixed place in a range
 * of addresses, so that a device can know a weight by its address; a place takes memory only from
 * {@link #get} to {@link #giveUp}.
 */
final class DecodedTensors {
  private final Map<String, MemorySegment> places = new HashMap<>();
  private final Set<String> present = new HashSet<>();

  /** How many readers hold a weight. */
  private final Map<String, Integer> holders = new HashMap<>();

  private final @Nullable MappedPages pages;
  private final long begin;

  /**
   * Reserves the addresses.
   *
   * @param path the file, for messages
   * @param arena frees the addresses when it is closed
   */
  DecodedTensors(Path path, Collection<TensorInfo> tensors, Arena arena) {
    long size = 0;
    for (TensorInfo tensor : tensors) {
      if (tensor.decoder() != null) {
        size = Math.addExact(size, place(tensor));
      }
    }
    if (size == 0) {
      pages = null;
      begin = 0;
      return;
    }
    MemorySegment range = reserve(path, size, arena);
    pages = new MappedPages(range);
    begin = range.address();
    long offset = 0;
    for (TensorInfo tensor : tensors) {
      if (tensor.decoder() != null) {
        places.put(tensor.name(), range.asSlice(offset, tensor.weightBytes()));
        offset += place(tensor);
      }
    }
  }

  /** Whole pages, so that none belongs to two weights. */
  private static long place(TensorInfo tensor) {
    return Math.multiplyExact(
        Math.ceilDiv(tensor.weightBytes(), MappedPages.PAGE), MappedPages.PAGE);
  }

  private static MemorySegment reserve(Path path, long size, Arena arena) {
    MemorySegment range = AnonymousMemory.map(size, AnonymousMemory.Counted.USED, arena);
    if (range == null) {
      throw new ResourceException(
          path + ": the system gives no " + ByteSize.show(size) + " of addresses for its weights");
    }
    return range;
  }

  /** The place of a weight, whose values are there only after {@link #get}; null for others. */
  @Nullable MemorySegment place(String name) {
    return places.get(name);
  }

  /** Computes a weight that is not there. */
  synchronized void get(TensorInfo info, MemorySegment stored) {
    MemorySegment place = places.get(info.name());
    TensorInfo.Decoder decoder = info.decoder();
    if (place != null && decoder != null && !present.contains(info.name())) {
      decoder.decode(stored, place);
      present.add(info.name());
    }
  }

  /** Whether a weight is there. */
  synchronized boolean isPresent(String name) {
    return present.contains(name);
  }

  /** Keeps a weight, once it is computed, until {@link #letGo} is called as often as this. */
  synchronized void hold(String name) {
    holders.merge(name, 1, Integer::sum);
  }

  /** Ends one {@link #hold}. */
  synchronized void letGo(String name) {
    holders.computeIfPresent(name, (held, count) -> count == 1 ? null : count - 1);
  }

  /** Frees the memory of a weight that no reader holds. */
  synchronized void giveUp(String name) {
    MemorySegment place = places.get(name);
    if (place != null && pages != null && !holders.containsKey(name) && present.remove(name)) {
      pages.giveUp(place.address() - begin, place.byteSize());
    }
  }
}
