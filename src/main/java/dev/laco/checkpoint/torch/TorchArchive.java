package dev.laco.checkpoint.torch;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.checkpoint.table.TensorInfo;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;

/**
 * Reads the tensor table of a file that {@code torch.save} wrote: a zip archive whose entries are
 * stored as they are, in one folder of any name. {@code data.pkl} says which tensors there are
 * ({@link TorchPickle}), {@code data/KEY} are their storages, and {@code byteorder} is {@code
 * little}. Several tensors may be the same part of a storage, as tied weights are; parts that
 * overlap otherwise, and tensors that do not lie row by row without gaps, are errors.
 */
public final class TorchArchive {
  private static final int MAX_BYTE_ORDER = 16;

  /** The second byte of files that PyTorch before 1.6 wrote: a pickle of protocol 2. */
  private static final byte[] LEGACY = {(byte) 0x80, 2, (byte) 0x8a, 10, 0x6c, (byte) 0xfc};

  private final Path file;
  private final MemorySegment bytes;
  private final SequencedMap<String, StoredZip.Entry> entries;
  private final String folder;

  private TorchArchive(Path file, MemorySegment bytes) {
    this.file = file;
    this.bytes = bytes;
    this.entries = StoredZip.read(file, bytes);
    String first = entries.isEmpty() ? "" : entries.firstEntry().getKey();
    this.folder = first.substring(0, first.indexOf('/') + 1);
  }

  /**
   * The tensors of a mapped file by name, ordered by offset.
   *
   * @throws BadInputException if the file breaks a rule, or holds anything but weights
   */
  public static Map<String, TensorInfo> read(Path file, MemorySegment bytes) {
    requireZip(file, bytes);
    TorchArchive archive = new TorchArchive(file, bytes);
    archive.requireFolder();
    archive.requireLittleEndian();
    List<TensorInfo> tensors = new ArrayList<>();
    TorchPickle.read(file + ": data.pkl", archive.pickle())
        .forEach((name, tensor) -> tensors.add(archive.info(name, tensor)));
    tensors.sort(
        Comparator.comparingLong(TensorInfo::offset).thenComparingLong(TensorInfo::byteSize));
    archive.requireApart(tensors);
    Map<String, TensorInfo> byName = LinkedHashMap.newLinkedHashMap(tensors.size());
    tensors.forEach(tensor -> byName.put(tensor.name(), tensor));
    return byName;
  }

  private static void requireZip(Path file, MemorySegment bytes) {
    if (StoredZip.isZip(bytes)) {
      return;
    }
    MemorySegment legacy = MemorySegment.ofArray(LEGACY);
    if (bytes.byteSize() >= LEGACY.length && bytes.asSlice(0, LEGACY.length).mismatch(legacy) < 0) {
      throw new BadInputException(
          file
              + ": is in the format of PyTorch before 1.6; where PyTorch is installed, this converts it:"
              + " python -c \"import sys, torch; f = sys.argv[1];"
              + " torch.save(torch.load(f, weights_only=True), f)\" FILE");
    }
    throw new BadInputException(
        file + ": is no file of torch.save, which is a zip archive; is the download complete?");
  }

  private void requireFolder() {
    for (String name : entries.keySet()) {
      if (!name.startsWith(folder)) {
        throw bad(
            String.format(
                Locale.ROOT,
                "entry '%s' is outside the folder '%s'",
                Legible.excerpt(name),
                Legible.excerpt(folder)));
      }
    }
  }

  private void requireLittleEndian() {
    StoredZip.Entry byteOrder = entries.get(folder + "byteorder");
    if (byteOrder != null) {
      // PyTorch before 2.1 did not write the entry, and ran on little-endian machines only.
      long size = Math.min(byteOrder.size(), MAX_BYTE_ORDER);
      byte[] text = bytes.asSlice(byteOrder.offset(), size).toArray(ValueLayout.JAVA_BYTE);
      String order = new String(text, ISO_8859_1);
      if (!order.equals("little")) {
        throw bad(
            String.format(
                Locale.ROOT,
                "byteorder: expected 'little', found '%s'; save the model again on an x86-64 machine",
                Legible.excerpt(order)));
      }
    }
  }

  private MemorySegment pickle() {
    StoredZip.Entry entry = entries.get(folder + "data.pkl");
    if (folder.isEmpty() || entry == null) {
      throw bad("has no data.pkl, and is no file of torch.save");
    }
    return bytes.asSlice(entry.offset(), entry.size());
  }

  private TensorInfo info(String name, TorchTensor tensor) {
    TorchTensor.Storage storage = tensor.storage();
    StoredZip.Entry entry = entries.get(folder + "data/" + storage.key());
    if (entry == null) {
      throw bad(
          name,
          String.format(Locale.ROOT, "there is no storage '%s'", Legible.excerpt(storage.key())));
    }
    int width = storage.type().bits() / Byte.SIZE;
    if (storage.elements() < 0
        || storage.elements() > entry.size() / width
        || storage.elements() * width != entry.size()) {
      throw bad(
          name,
          String.format(
              Locale.ROOT,
              "its storage is said to have %d elements of %s, but has %d bytes",
              storage.elements(),
              storage.type(),
              entry.size()));
    }
    long elements = elements(name, tensor);
    if (tensor.offset() < 0
        || tensor.offset() > storage.elements()
        || elements > storage.elements() - tensor.offset()) {
      throw bad(
          name,
          String.format(
              Locale.ROOT,
              "shape %s from element %d on does not fit into a storage of %d elements",
              tensor.shape(),
              tensor.offset(),
              storage.elements()));
    }
    requireRows(name, tensor, elements);
    return new TensorInfo(
        name,
        storage.type(),
        tensor.shape(),
        entry.offset() + tensor.offset() * width,
        elements * width);
  }

  private long elements(String name, TorchTensor tensor) {
    long elements = 1;
    try {
      for (long extent : tensor.shape()) {
        if (extent < 0) {
          throw bad(name, String.format(Locale.ROOT, "shape %s is negative", tensor.shape()));
        }
        elements = Math.multiplyExact(elements, extent);
      }
    } catch (ArithmeticException e) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: tensor '%s': shape %s overflows 64 bits",
              file,
              Legible.excerpt(name),
              tensor.shape()),
          e);
    }
    return elements;
  }

  /** Checks that the elements lie row by row, without gaps; strides of extents of 1 say nothing. */
  private void requireRows(String name, TorchTensor tensor, long elements) {
    List<Long> shape = tensor.shape();
    List<Long> strides = tensor.strides();
    boolean rows = shape.size() == strides.size();
    long distance = 1;
    for (int i = shape.size() - 1; i >= 0 && rows && elements > 0; i--) {
      rows = shape.get(i) == 1 || strides.get(i) == distance;
      distance *= shape.get(i);
    }
    if (!rows) {
      throw bad(
          name,
          String.format(
              Locale.ROOT,
              "shape %s with strides %s does not lie row by row; save it after .contiguous()",
              shape,
              strides));
    }
  }

  private void requireApart(List<TensorInfo> sorted) {
    TensorInfo previous = null;
    for (TensorInfo tensor : sorted) {
      if (tensor.byteSize() == 0) {
        continue;
      }
      if (previous != null
          && tensor.offset() < previous.offset() + previous.byteSize()
          && !(tensor.offset() == previous.offset()
              && tensor.byteSize() == previous.byteSize()
              && tensor.type().equals(previous.type()))) {
        throw bad(
            tensor.name(),
            String.format(
                Locale.ROOT,
                "overlaps '%s' in its storage; save it after .clone()",
                Legible.excerpt(previous.name())));
      }
      previous = tensor;
    }
  }

  private BadInputException bad(String name, String rule) {
    return bad(String.format(Locale.ROOT, "tensor '%s': %s", Legible.excerpt(name), rule));
  }

  private BadInputException bad(String rule) {
    return new BadInputException(file + ": " + rule);
  }
}
