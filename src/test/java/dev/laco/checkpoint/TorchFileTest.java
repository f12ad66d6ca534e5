package dev.laco.checkpoint;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MutatedFiles;
import dev.laco.checkpoint.TorchFiles.Row;
import dev.laco.checkpoint.table.StoredType;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Files of torch.save: those that PyTorch wrote, and hostile ones. */
class TorchFileTest {
  private static final Path TORCH = Fixtures.RESOURCES.resolve("torch");

  /** How a pickle of protocol 2 begins. */
  private static final String P2 = "\u0080\u0002";

  private static final String P4 = "\u0080\u0004";

  private static final String ORDERED_DICT = "ccollections\nOrderedDict\n)R";

  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(strings = {"weights2.bin", "weights4.bin", "weights5.bin"})
  void whatPyTorchWroteIsReadInPlace(String name) {
    try (WeightFile file = WeightFile.open(TORCH.resolve(name))) {
      assertEquals(11, file.tensors().size());
      assertValues(file, "embed", List.of(2L, 3L), 0, 1, 2, 3, 4, 5);
      assertEquals(file.info("embed").offset(), file.info("head").offset());
      assertValues(file, "head", List.of(2L, 3L), 0, 1, 2, 3, 4, 5);
      assertValues(file, "half", List.of(3L, 2L), 0, 1, 2, 3, 4, 5);
      assertValues(file, "norm", List.of(4L), 0, 1, 2, 3);
      assertValues(file, "slice", List.of(10L), 10, 11, 12, 13, 14, 15, 16, 17, 18, 19);
      assertValues(file, "scalar", List.of(), 2.5f);
      assertValues(file, "empty", List.of(0L, 3L));
      assertValues(file, "column", List.of(4L, 1L), 0, 1, 2, 3);
      assertEquals(StoredType.BOOL, file.info("mask").type());
      assertEquals(StoredType.I64, file.info("steps").type());
      assertEquals(1.5, file.bytes("double").get(ValueLayout.JAVA_DOUBLE_UNALIGNED, 0));
    }
  }

  private static void assertValues(
      WeightFile file, String name, List<Long> shape, float... expected) {
    HostTensor tensor = file.tensor(name);
    assertEquals(shape, tensor.shape());
    float[] found = new float[(int) tensor.elements()];
    for (int i = 0; i < found.length; i++) {
      found[i] =
          switch (tensor.dtype()) {
            case F32 -> tensor.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
            case F16 ->
                Float.float16ToFloat(tensor.data().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i));
            case BF16 ->
                Float.intBitsToFloat(
                    tensor.data().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i) << 16);
          };
    }
    assertEquals(Arrays.toString(expected), Arrays.toString(found), name);
  }

  @Test
  void versionsOfModulesBesideTheTensorsAreNoTensors() {
    try (WeightFile file = WeightFile.open(TORCH.resolve("state_dict.bin"))) {
      assertEquals(
          List.of("weight", "bias"), file.tensors().stream().map(TensorInfo::name).toList());
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "legacy.bin|format of PyTorch before 1.6; where PyTorch is installed, this converts it: python -c",
        "module.bin|the name torch.nn.modules.linear.Linear, which weights are not made of; nothing of it was run",
        "training.bin|'state_dict' is no tensor; save the model's state_dict",
        "transposed.bin|tensor 'a': shape [5, 4] with strides [1, 5] does not lie row by row",
        "overlapping.bin|tensor 'b': overlaps 'a' in its storage",
        "float8.bin|the name torch._utils._rebuild_tensor_v3",
        "complex.bin|the name torch.ComplexFloatStorage",
        "sparse.bin|the name torch._utils._rebuild_sparse_tensor",
        "quantised.bin|the name torch._utils._rebuild_qtensor",
        "list.bin|the operation EMPTY_LIST, which torch.save does not write for weights",
        "script.bin|is compressed (method 8); torch.save stores entries as they are"
      })
  void whatElsePyTorchWritesIsRefusedByName(String name, String message) {
    assertBad(TORCH.resolve(name), message);
  }

  static Stream<Arguments> hostilePickles() {
    return Stream.of(
        // Calls, as published attacks make them.
        pickle("GLOBAL", P2 + "cos\nsystem\nX\4\0\0\0true\u0085R.", "the name os.system"),
        pickle("GLOBAL posix", P2 + "cposix\nsystem\n(X\4\0\0\0truetR.", "posix.system"),
        pickle("eval", P2 + "c__builtin__\neval\n(X\1\0\0\0" + "1tR.", "__builtin__.eval"),
        pickle("exec", P2 + "cbuiltins\nexec\n(X\1\0\0\0" + "1tR.", "builtins.exec"),
        pickle("Popen", P2 + "csubprocess\nPopen\n)R.", "subprocess.Popen"),
        pickle("pip", P2 + "cpip\nmain\n)R.", "pip.main"),
        pickle("second pickle", P2 + "ctorch.storage\n_load_from_bytes\n)R.", "_load_from_bytes"),
        pickle("torch.load", P2 + "ctorch\nload\n)R.", "torch.load"),
        pickle("getattr", P2 + "c__builtin__\ngetattr\n)R.", "__builtin__.getattr"),
        pickle(
            "STACK_GLOBAL",
            P4 + "\u008c\2os\u008c\6system\u0093\u008c\4true\u0085R.",
            "the name os.system"),
        pickle(
            "STACK_GLOBAL with dots",
            P4 + "\u008c\13collections\u008c\21OrderedDict.clear\u0093)R.",
            "the name collections.OrderedDict.clear"),
        pickle("STACK_GLOBAL of numbers", P4 + "K\1K\2\u0093.", "a name that is no text"),
        pickle("INST", P2 + "(X\4\0\0\0trueios\nsystem\n.", "the operation INST"),
        pickle("INST of text", "(S'true'\nios\nsystem\n.", "does not begin as a pickle"),
        pickle("OBJ", P2 + "(ccollections\nOrderedDict\no.", "the operation OBJ"),
        pickle("NEWOBJ", P2 + "ccollections\nOrderedDict\n)\u0081.", "the operation NEWOBJ"),
        pickle("NEWOBJ_EX", P4 + "ccollections\nOrderedDict\n)}\u0092.", "the operation NEWOBJ_EX"),
        pickle("EXT1", P2 + "\u0082\1.", "the operation EXT1"),
        pickle("EXT2", P2 + "\u0083\1\1.", "the operation EXT2"),
        pickle("EXT4", P2 + "\u0084\1\1\1\1.", "the operation EXT4"),
        pickle(
            "BUILD with __setstate__",
            P2 + ORDERED_DICT + "}X\14\0\0\0__setstate__ccollections\nOrderedDict\nsb.",
            "the operation BUILD on something else than a state_dict"),
        pickle("BUILD of a type", P2 + "ccollections\nOrderedDict\n}b.", "the operation BUILD"),
        pickle("REDUCE of a dictionary", P2 + "})R.", "REDUCE on something that is no function"),
        pickle(
            "REDUCE without a tuple", P2 + "ccollections\nOrderedDict\n}R.", "REDUCE on something"),
        pickle(
            "arguments of a dictionary",
            P2 + "ccollections\nOrderedDict\n}\u0085R.",
            "a call of collections.OrderedDict with arguments"),
        pickle(
            "call of a storage", P2 + "ctorch\nFloatStorage\n)R.", "a call of torch.FloatStorage"),
        pickle(
            "tensor of nothing", P2 + "ctorch._utils\n_rebuild_tensor_v2\n)R.", "a call of torch."),
        pickle("parameter of nothing", P2 + "ctorch._utils\n_rebuild_parameter\n)R.", "a call of"),
        pickle("PERSID", P2 + "Pstorage\n.", "the operation PERSID"),
        pickle("persistent id of text", P2 + "X\1\0\0\0aQ.", "a persistent id that is none"),
        pickle(
            "nested persistent ids",
            P2 + "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + "0X\3\0\0\0cpuK\1tQQ.",
            "a persistent id that is none"),
        pickle("POP", P2 + "}}0.", "the operation POP"),
        pickle("DUP", P2 + "}2.", "the operation DUP"),
        pickle("buffers", "\u0080\u0005\u0097.", "the operation NEXT_BUFFER"),
        // Pickles that are broken, or would take memory or time.
        pickle("empty", "", "does not begin as a pickle"),
        pickle("protocol 6", "\u0080\u0006}.", "does not begin as a pickle"),
        pickle("second PROTO", P2 + "\u0080\u0002}.", "the operation PROTO"),
        pickle("no STOP", P2 + "}", "ends in the middle of an operation"),
        pickle("STOP alone", P2 + ".", "takes a value from an empty stack"),
        pickle("two results", P2 + "}}.", "something is left behind its end"),
        pickle("an open mark", P2 + "}(", "ends in the middle"),
        pickle("text behind its end", P2 + "}.}", "something is left behind its end"),
        pickle("no operation", P2 + "\u00ff.", "0xff is no operation"),
        pickle("frame too long", P4 + "\u0095\377\0\0\0\0\0\0\0}.", "a frame is longer"),
        pickle("negative frame", P4 + "\u0095\0\0\0\0\0\0\0\u0080}.", "a frame is longer"),
        pickle("memo far away", P2 + "}r\377\377\377\177.", "a note is not the next"),
        pickle("negative memo", P2 + "}r\377\377\377\377.", "a note is not the next"),
        pickle("memo of nothing", P2 + "q\0}.", "an empty stack"),
        pickle("memo across a mark", P2 + "}(q\0.", "an empty stack"),
        pickle("unknown note", P2 + "h\7.", "a note that was not made"),
        pickle("long text", P2 + "X\377\377\377\177a.", "a text has more than 512 bytes"),
        pickle("negative text", P2 + "X\377\377\377\377a.", "a text has more than"),
        pickle("text cut short", P2 + "X\10\0\0\0a.", "ends in the middle"),
        pickle("no UTF-8", P2 + "X\1\0\0\0\377.", "not valid UTF-8"),
        pickle("name without end", P2 + "c" + "a".repeat(500), "does not end within 128 bytes"),
        pickle("number of 255 bytes", P2 + "\u008a\377" + "a".repeat(255), "more than 64 bits"),
        pickle("no mark", P2 + "}t.", "a mark that is not there"),
        pickle("odd items", P2 + "}(X\1\0\0\0au.", "set that is no entry"),
        pickle("items of a tuple", P2 + ")X\1\0\0\0aK\1s.", "set that is no entry"),
        pickle("a number as key", P2 + "}K\1K\1s.", "a key of a dictionary is no text"),
        pickle("key twice", P2 + "}(X\1\0\0\0aK\1X\1\0\0\0aK\1u.", "'a' is there twice"),
        pickle("a tuple", P2 + ").", "something else than a dictionary of tensors"),
        pickle("a dictionary in itself", P2 + "}q\0X\1\0\0\0ah\0s.", "'a' is no tensor"),
        pickle("terminal escapes", P2 + "}X\2\0\0\0\33[K\1s.", "'\\u001b[' is no tensor"),
        pickle(
            "long name", P2 + "}X\u0081\0\0\0" + "a".repeat(129) + "K\1s.", "has 129 characters"),
        pickle("doubled tuples", P2 + ")" + doubled(60) + ".", "something else"),
        pickle("deep marks", P2 + "(".repeat(2_000_000), "more than 1,048,576 values"),
        pickle("many values", P2 + "}".repeat(2_000_000), "more than 1,048,576 values"),
        pickle("many notes", P4 + "}" + "\u0094".repeat(2_000_000), "more than 1,048,576 values"),
        pickle("deep tuples", P2 + ")" + "\u0085".repeat(1_000_000) + ".", "something else than a"),
        pickle("too long", P2 + "a".repeat(17 << 20), "at most 16,777,216 are read"));
  }

  /** Each tuple holds the one before twice: 2^60 values for whoever walks through them. */
  private static String doubled(int times) {
    StringBuilder pickle = new StringBuilder();
    for (int i = 0; i < times; i++) {
      pickle.append('q').append((char) i).append('h').append((char) i).append('\u0086');
    }
    return pickle.toString();
  }

  private static Arguments pickle(String what, String latin, String message) {
    return Arguments.argumentSet(what, latin.getBytes(ISO_8859_1), message);
  }

  @ParameterizedTest
  @MethodSource("hostilePickles")
  void aHostilePickleIsRefusedByNameWithLittleMemory(byte[] pickle, String message) {
    Path path = write(TorchFiles.archive(pickle, Map.of()));
    assertBad(path, message);
  }

  static Stream<Arguments> brokenTensors() {
    List<Long> four = List.of(4L);
    List<Long> one = List.of(1L);
    return Stream.of(
        tensor("no storage", new Row("a", "FloatStorage", "1", 4, 0, four, one), "storage '1'"),
        tensor(
            "a path", new Row("a", "FloatStorage", "../data.pkl", 4, 0, four, one), "no storage"),
        tensor("short", new Row("a", "FloatStorage", "0", 5, 0, four, one), "has 16 bytes"),
        tensor("long", new Row("a", "FloatStorage", "0", 3, 0, List.of(3L), one), "has 16 bytes"),
        tensor("other type", new Row("a", "DoubleStorage", "0", 4, 0, four, one), "has 16 bytes"),
        tensor("negative", new Row("a", "FloatStorage", "0", -4, 0, four, one), "has 16 bytes"),
        tensor(
            "overflow", new Row("a", "FloatStorage", "0", 1L << 62, 0, four, one), "has 16 bytes"),
        tensor("offset", new Row("a", "FloatStorage", "0", 4, 1, four, one), "from element 1 on"),
        tensor("behind", new Row("a", "FloatStorage", "0", 4, -1, four, one), "from element -1"),
        tensor(
            "far",
            new Row("a", "FloatStorage", "0", 4, Long.MAX_VALUE, four, one),
            "from element 9223372036854775807"),
        tensor(
            "extent",
            new Row("a", "FloatStorage", "0", 4, 0, List.of(-4L), one),
            "shape [-4] is negative"),
        tensor(
            "extents",
            new Row("a", "FloatStorage", "0", 4, 0, List.of(1L << 62, 4L), List.of(4L, 1L)),
            "overflows 64 bits"),
        tensor(
            "rank",
            new Row("a", "FloatStorage", "0", 4, 0, four, List.of()),
            "does not lie row by row"),
        tensor(
            "many",
            new Row("a", "FloatStorage", "0", 4, 0, Collections.nCopies(9, 1L), one),
            "more than 8 dimensions"),
        tensor(
            "zero stride",
            new Row("a", "FloatStorage", "0", 4, 0, four, List.of(0L)),
            "does not lie row by row"),
        tensor(
            "negative stride",
            new Row("a", "FloatStorage", "0", 4, 3, List.of(1L, 1L), List.of(-1L, -1L)),
            null),
        tensor("good", new Row("a", "FloatStorage", "0", 4, 0, four, one), null));
  }

  private static Arguments tensor(String what, Row row, @Nullable String message) {
    return Arguments.argumentSet(what, row, message);
  }

  @ParameterizedTest
  @MethodSource("brokenTensors")
  void aTensorLiesInItsStorage(Row row, @Nullable String message) {
    Path path =
        write(TorchFiles.archive(TorchFiles.pickle(List.of(row)), Map.of("0", new byte[16])));
    if (message == null) {
      WeightFile.open(path).close();
    } else {
      assertBad(path, message);
    }
  }

  /** Two tensors, in the storages 0 and 1. */
  private static byte[] twoTensors() {
    return TorchFiles.archive(
        TorchFiles.pickle(
            List.of(
                Row.whole("a", "FloatStorage", "0", List.of(4L)),
                Row.whole("b", "FloatStorage", "1", List.of(4L)))),
        new TreeMap<>(Map.of("0", new byte[16], "1", new byte[16])));
  }

  static Stream<Arguments> brokenZips() {
    return Stream.of(
        zip("a comment", zip -> zip.append("c").u16(zip.end() + 20, 1), "without a comment"),
        zip("text behind", zip -> zip.append("x"), "does not end as a zip archive"),
        zip("cut short", zip -> zip.cut(1), "does not end as a zip archive"),
        zip("no directory", zip -> zip.u32(zip.end() + 16, 0), "is not where its end record says"),
        zip("a large directory", zip -> zip.u32(zip.end() + 12, -2), "is not where its end record"),
        zip("an entry less", zip -> zip.u16(zip.end() + 10, 3), "holds more than the 3 entries"),
        zip("an entry more", zip -> zip.u16(zip.end() + 10, 5), "ends after 4 of 5 entries"),
        zip("64-bit locator", zip -> zip.insert64(0), "its 64-bit end record is not where"),
        zip("negative locator", zip -> zip.insert64(-1), "its 64-bit end record is not where"),
        zip(
            "a name twice",
            zip -> zip.replace("archive/data/1", "archive/data/0"),
            "entry 'archive/data/0' is there twice"),
        zip(
            "encrypted",
            zip -> zip.u16(zip.central("data/0") + 8, 1),
            "is encrypted or has flags that torch.save does not write"),
        zip(
            "said to be compressed",
            zip -> zip.u16(zip.central("data/0") + 10, 8),
            "is compressed (method 8); torch.save stores entries as they are"),
        zip(
            "compressed in its local header",
            zip -> zip.u16(zip.local("data/0") + 8, 8),
            "has a local header that differs"),
        zip(
            "another name in the local header",
            zip -> zip.put(zip.local("data/0") + 30, "x"),
            "has a local header that differs"),
        zip(
            "another size in the local header",
            zip -> zip.u32(zip.local("data/0") + 22, 8),
            "has a local header that differs"),
        zip(
            "other flags in the local header",
            zip -> zip.u16(zip.local("data/0") + 6, 8),
            "has a local header that differs"),
        zip(
            "unpacked it is larger",
            zip -> zip.u32(zip.central("data/0") + 24, 1 << 30),
            "another number of bytes than it has"),
        zip(
            "overlapping",
            zip ->
                zip.u32(zip.central("data/0") + 20, 40)
                    .u32(zip.central("data/0") + 24, 40)
                    .u32(zip.local("data/0") + 18, 40)
                    .u32(zip.local("data/0") + 22, 40),
            "overlaps 'archive/data/0'"),
        zip(
            "larger than the file",
            zip -> zip.u32(zip.central("data/0") + 20, 4000).u32(zip.central("data/0") + 24, 4000),
            "of 4000 bytes does not fit"),
        zip(
            "sizes elsewhere",
            zip -> zip.u32(zip.central("data/0") + 24, -1),
            "lacks the 64-bit sizes"),
        zip(
            "local header elsewhere",
            zip -> zip.u32(zip.central("data/0") + 42, 1),
            "has no local header where"),
        zip(
            "local header in the directory",
            zip -> zip.u32(zip.central("data/0") + 42, zip.end()),
            "has no local header where"),
        zip(
            "another folder",
            zip -> zip.replace("archive/data/1", "abchive/data/1"),
            "entry 'abchive/data/1' is outside the folder 'archive/'"),
        zip(
            "no pickle",
            zip -> zip.replace("archive/data.pkl", "archive/data.pkm"),
            "has no data.pkl"),
        zip("no folder", zip -> zip.replace("archive/", "archive_"), "has no data.pkl"),
        zip(
            "the other byte order",
            zip -> zip.replace("little", "biggie"),
            "byteorder: expected 'little', found 'biggie'"),
        zip("another file", zip -> zip.put(0, "GGUF"), "is no file of torch.save"));
  }

  private static Arguments zip(String what, Consumer<Patch> change, String message) {
    return Arguments.argumentSet(what, change, message);
  }

  @ParameterizedTest
  @MethodSource("brokenZips")
  void aZipIsReadOneWayOnly(Consumer<Patch> change, String message) {
    WeightFile.open(write(twoTensors())).close();
    Patch patch = new Patch(twoTensors());
    change.accept(patch);
    assertBad(write(patch.bytes), message);
  }

  @Test
  void aCompressedArchiveIsRefused() {
    Map<String, byte[]> entries = new LinkedHashMap<>();
    entries.put("archive/data.pkl", TorchFiles.pickle(List.of()));
    entries.put("archive/data/0", new byte[100_000]);
    assertBad(write(TorchFiles.zip(entries, ZipEntry.DEFLATED)), "entry 'archive/data.pkl' ");
  }

  /** Changes of an archive's bytes. */
  private static final class Patch {
    byte[] bytes;

    Patch(byte[] bytes) {
      this.bytes = bytes;
    }

    Patch u16(int at, int value) {
      ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putShort(at, (short) value);
      return this;
    }

    Patch u32(int at, int value) {
      ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putInt(at, value);
      return this;
    }

    Patch put(int at, String latin) {
      ByteBuffer.wrap(bytes).put(at, latin.getBytes(ISO_8859_1));
      return this;
    }

    Patch append(String latin) {
      bytes = text().concat(latin).getBytes(ISO_8859_1);
      return this;
    }

    Patch cut(int count) {
      bytes = Arrays.copyOf(bytes, bytes.length - count);
      return this;
    }

    Patch replace(String from, String to) {
      assertTrue(text().contains(from), from);
      bytes = text().replace(from, to).getBytes(ISO_8859_1);
      return this;
    }

    /** Puts a locator of a 64-bit end record in front of the end record. */
    Patch insert64(long offset) {
      ByteBuffer locator = ByteBuffer.allocate(20).order(ByteOrder.LITTLE_ENDIAN);
      locator.putInt(0x07064b50).putInt(0).putLong(offset).putInt(1);
      String text = text();
      int end = end();
      bytes =
          (text.substring(0, end) + new String(locator.array(), ISO_8859_1) + text.substring(end))
              .getBytes(ISO_8859_1);
      return this;
    }

    int end() {
      return text().lastIndexOf("PK\5\6");
    }

    int central(String name) {
      return text().lastIndexOf("archive/" + name) - 46;
    }

    int local(String name) {
      return text().indexOf("archive/" + name) - 30;
    }

    private String text() {
      return new String(bytes, ISO_8859_1);
    }
  }

  @Test
  void entriesBeyondFourGibibytesAreReadWhole() throws IOException {
    long elements = (5L << 30) / 4;
    byte[] pickle =
        TorchFiles.pickle(
            List.of(
                Row.whole("large", "FloatStorage", "0", List.of(elements)),
                Row.whole("small", "FloatStorage", "1", List.of(1L))));
    Path path = folder.resolve("large.bin");
    try (RandomAccessFile sparse = new RandomAccessFile(path.toFile(), "rw")) {
      Zip64 zip = new Zip64(sparse);
      zip.entry("archive/data.pkl", pickle.length);
      sparse.write(pickle);
      zip.entry("archive/data/0", elements * 4);
      sparse.seek(sparse.getFilePointer() + elements * 4 - 4);
      sparse.writeInt(Integer.reverseBytes(Float.floatToIntBits(7)));
      zip.entry("archive/data/1", 4);
      sparse.writeInt(Integer.reverseBytes(Float.floatToIntBits(8)));
      zip.end();
    }
    try (WeightFile file = WeightFile.open(path)) {
      HostTensor large = file.tensor("large");
      assertEquals(elements, large.elements());
      assertEquals(7, large.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, elements - 1));
      assertEquals(8, file.tensor("small").data().get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0));
    }
  }

  /** Writes an archive all of whose sizes and offsets are in 64-bit records. */
  private static final class Zip64 {
    private final RandomAccessFile file;
    private final Map<String, long[]> entries = new LinkedHashMap<>();

    Zip64(RandomAccessFile file) {
      this.file = file;
    }

    /** Writes a local header. */
    void entry(String name, long size) throws IOException {
      entries.put(name, new long[] {size, file.getFilePointer()});
      ByteBuffer header = ByteBuffer.allocate(30).order(ByteOrder.LITTLE_ENDIAN);
      header.putInt(0x04034b50).position(18);
      header.putInt(-1).putInt(-1).putShort((short) name.length()).putShort((short) 20);
      file.write(header.array());
      file.write(name.getBytes(ISO_8859_1));
      ByteBuffer extra = ByteBuffer.allocate(20).order(ByteOrder.LITTLE_ENDIAN);
      file.write(
          extra.putShort((short) 1).putShort((short) 16).putLong(size).putLong(size).array());
    }

    void end() throws IOException {
      long begin = file.getFilePointer();
      for (Map.Entry<String, long[]> entry : entries.entrySet()) {
        String name = entry.getKey();
        long size = entry.getValue()[0];
        ByteBuffer header =
            ByteBuffer.allocate(46 + name.length() + 28).order(ByteOrder.LITTLE_ENDIAN);
        header.putInt(0x02014b50).position(20);
        header.putInt(-1).putInt(-1).putShort((short) name.length()).putShort((short) 28);
        header.position(42);
        header.putInt(-1).put(name.getBytes(ISO_8859_1)).putShort((short) 1).putShort((short) 24);
        header.putLong(size).putLong(size).putLong(entry.getValue()[1]);
        file.write(header.array());
      }
      long end = file.getFilePointer();
      ByteBuffer tail = ByteBuffer.allocate(56 + 20 + 22).order(ByteOrder.LITTLE_ENDIAN);
      tail.putInt(0x06064b50).putLong(44).position(24);
      tail.putLong(entries.size()).putLong(entries.size()).putLong(end - begin).putLong(begin);
      tail.putInt(0x07064b50).putInt(0).putLong(end).putInt(1);
      tail.putInt(0x06054b50).putInt(0).putShort((short) -1).putShort((short) -1);
      tail.putInt(-1).putInt(-1).putShort((short) 0);
      file.write(tail.array());
    }
  }

  /** Whatever is done to a good file, it opens or is refused; nothing else, and soon. */
  @ParameterizedTest
  @ValueSource(strings = {"weights2.bin", "weights4.bin", "weights5.bin", "state_dict.bin"})
  void mutatedFilesOpenOrAreRefused(String name) throws IOException {
    byte[] good = TestCheckpoints.read(TORCH.resolve(name));
    Path path = TestCheckpoints.writeBytes(folder.resolve("m.bin"), good);
    int refused =
        MutatedFiles.refused(
            MutatedFiles.COUNT / 4,
            path,
            good.length,
            "()}]tuRbcQqrhjX.0\u0080\u0081\u0085\u008a\u0093\u0094\u0095\377\0\1",
            () -> {
              try (WeightFile file = WeightFile.open(path)) {
                for (TensorInfo tensor : file.tensors()) {
                  assertTrue(file.bytes(tensor.name()).byteSize() < good.length);
                }
                return good.length;
              }
            });
    assertTrue(refused > 25, refused + " of 250 refused");
  }

  private Path write(byte[] bytes) {
    return TestCheckpoints.writeBytes(folder.resolve("a.bin"), bytes);
  }

  private static void assertBad(Path path, String message) {
    long before = MutatedFiles.allocated();
    var e = assertThrows(BadInputException.class, () -> WeightFile.open(path));
    assertTrue(
        MutatedFiles.allocated() - before < MutatedFiles.MOST_MEMORY,
        "bytes: " + (MutatedFiles.allocated() - before));
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertTrue(e.getMessage().startsWith(path + ": "), e.getMessage());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
    assertFalse(Files.exists(Path.of("true")));
  }
}
