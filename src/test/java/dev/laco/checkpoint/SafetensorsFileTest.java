package dev.laco.checkpoint;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MutatedFiles;
import dev.laco.checkpoint.table.StoredType;
import dev.laco.checkpoint.table.TableLimits;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class SafetensorsFileTest {
  @TempDir Path folder;

  @Test
  void tensorsAreReadWhereTheHeaderSaysTheyAre() {
    byte[] data =
        ByteBuffer.allocate(10)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putShort((short) 0x3f80)
            .putFloat(1.5f)
            .putFloat(-2)
            .array();
    Path path =
        TestCheckpoints.write(
            folder.resolve("a.safetensors"),
            """
            {"__metadata__":{"format":"pt"},
             "scalar":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},
             "pair":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10],"note":"ignored"},
             "none":{"dtype":"F32","shape":[3,0],"data_offsets":[2,2]}}   \
            """,
            data);
    try (WeightFile file = WeightFile.open(path)) {
      HostTensor pair = file.tensor("pair");
      assertEquals(DType.F32, pair.dtype());
      assertEquals(List.of(2L, 1L), pair.shape());
      assertEquals(-2f, pair.data().get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4));
      assertEquals(1, file.tensor("scalar").elements());
      assertEquals(0, file.tensor("none").elements());
      assertEquals(
          List.of("scalar", "none", "pair"),
          file.tensors().stream().map(TensorInfo::name).toList());
    }
  }

  @Test
  void whatIsNotFiniteIsSeenAtEitherEndOfEveryPieceThatIsReadAtOnce() {
    int piece = 8 << 20;
    int size = 2 * piece + 12;
    String header =
        String.format(
            Locale.ROOT,
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%d]}}",
            size / 4,
            size);
    byte[] data = new byte[size];
    Path path = folder.resolve("a.safetensors");
    assertTrue(isFinite(TestCheckpoints.write(path, header, data)));
    for (int at : new int[] {0, piece - 4, piece, 2 * piece, size - 4}) {
      ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).putFloat(at, Float.NEGATIVE_INFINITY);
      assertFalse(isFinite(TestCheckpoints.write(path, header, data)), "byte " + at);
      Arrays.fill(data, (byte) 0);
    }
  }

  private static boolean isFinite(Path path) {
    try (WeightFile file = WeightFile.open(path)) {
      return file.bringInFinite("a");
    }
  }

  static Stream<Arguments> brokenHeaders() {
    String a = "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}";
    return Stream.of(
        Arguments.of("", "does not begin with '{'"),
        Arguments.of(" {}", "does not begin with '{'"),
        Arguments.of("[]", "does not begin with '{'"),
        Arguments.of("{" + a, "not valid JSON"),
        Arguments.of("{" + a + "}x", "not valid JSON"),
        Arguments.of("{" + a + "}{}", "text after its JSON object"),
        Arguments.of("{" + a + "," + a + "}", "a key twice"),
        Arguments.of("{\"a\":1}", "'a': entry is not an object"),
        Arguments.of("{\"__metadata__\":[]," + a + "}", "__metadata__ is not an object"),
        Arguments.of("{\"__metadata__\":{\"k\":1}," + a + "}", "value 'k' is not a string"),
        Arguments.of("{\"__metadata__\":{\"k\":\"\",\"k\":\"\"}," + a + "}", "a key twice"),
        Arguments.of("{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "has no dtype"),
        Arguments.of("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "has no shape"),
        Arguments.of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "has no data_offsets"),
        Arguments.of(a("F32", "[2]", "[0]"), "has no data_offsets of two"),
        Arguments.of(a("F32", "[2]", "[0,8,8]"), "more than 2 numbers"),
        Arguments.of(a("F33", "[2]", "[0,8]"), "dtype 'F33' is unknown"),
        Arguments.of("{\"a\":{\"dtype\":1}}", "dtype is not a string"),
        Arguments.of(a("F32", "2", "[0,8]"), "shape is not an array"),
        Arguments.of(a("F32", "[2.0]", "[0,8]"), "not a whole number"),
        Arguments.of(a("F32", "[\"2\"]", "[0,8]"), "not a whole number"),
        Arguments.of(a("F32", "[-2]", "[0,8]"), "negative"),
        Arguments.of(a("F32", "[18446744073709551618]", "[0,8]"), "beyond 64 bits"),
        Arguments.of(a("F32", "[4611686018427387904,4]", "[0,8]"), "overflows"),
        Arguments.of(a("F32", "[2305843009213693952]", "[0,8]"), "overflows"),
        Arguments.of(a("F32", "[3]", "[0,8]"), "takes 12.0 bytes but data_offsets span 8"),
        Arguments.of(a("F4", "[17]", "[0,8]"), "takes 8.5 bytes"),
        Arguments.of(a("F32", "[2]", "[8,0]"), "end (0) before they begin (8)"),
        Arguments.of(a("F32", "[4]", "[0,16]"), "the file is truncated"),
        Arguments.of(a("F32", "[1]", "[0,4]"), "4 bytes after its last tensor"),
        Arguments.of(a("F32", "[1]", "[4,8]"), "a gap of 4 bytes after 'the header'"),
        Arguments.of(
            "{" + a + ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
            "tensor 'b': overlaps 'a'"),
        Arguments.of("{}", "8 bytes after its last tensor"),
        Arguments.of("{\"a\":" + "[".repeat(5000), "not an object"),
        Arguments.of("{\"a\":{\"x\":[[]]}}", "'a': entry has an unknown key 'x'"),
        Arguments.of("{\"a\":{" + many("x", 20) + "}}", "'a': entry has more than 16 keys"),
        Arguments.of(
            "{\"__metadata__\":{" + many("x", 100_001) + "}}", "more than 100000 entries"));
  }

  private static String many(String key, int count) {
    return IntStream.range(0, count)
        .mapToObj(i -> String.format(Locale.ROOT, "\"%s%d\":\"\"", key, i))
        .collect(Collectors.joining(","));
  }

  private static String a(String dtype, String shape, String offsets) {
    return String.format(
        Locale.ROOT,
        "{\"a\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":%s}}",
        dtype,
        shape,
        offsets);
  }

  @ParameterizedTest
  @MethodSource("brokenHeaders")
  void everyBrokenRuleHasItsOwnError(String header, String message) {
    Path path = TestCheckpoints.write(folder.resolve("a.safetensors"), header, new byte[8]);
    assertBad(path, message);
  }

  @Test
  void headerLengthsThatCannotBeAreRefused() {
    byte[] json = "{}".getBytes(UTF_8);
    Path path = folder.resolve("a.safetensors");
    assertBad(TestCheckpoints.writeBytes(path, new byte[0]), "is 0 bytes long");
    assertBad(TestCheckpoints.writeBytes(path, new byte[7]), "is 7 bytes long");
    assertBad(TestCheckpoints.write(path, 3, json, new byte[0]), "the file is truncated");
    assertBad(TestCheckpoints.write(path, 100_000_001, json, new byte[0]), "at most 100000000");
    assertBad(TestCheckpoints.write(path, -1, json, new byte[0]), "18446744073709551615");
    assertBad(
        TestCheckpoints.write(path, 4, new byte[] {'{', '"', (byte) 0xff, '"'}, new byte[0]),
        "not valid UTF-8");
  }

  @Test
  void whatIsNoFileIsRefused() throws IOException {
    assertBad(folder, "is not a regular file");
    assertBad(folder.resolve("absent"), "no such file");
    Path link = Files.createSymbolicLink(folder.resolve("link"), Path.of("nowhere"));
    assertBad(link, "a symbolic link to nothing");
  }

  @Test
  void typesThatAreNoWeightsAreListedButRefusedAsWeights() {
    Path path =
        TestCheckpoints.write(
            folder.resolve("a.safetensors"), a("I64", "[1]", "[0,8]"), new byte[8]);
    try (WeightFile file = WeightFile.open(path)) {
      assertEquals(StoredType.I64, file.info("a").type());
      assertEquals(8, file.bytes("a").byteSize());
      var e = assertThrows(BadInputException.class, () -> file.tensor("a"));
      assertTrue(e.getMessage().contains("'a' is I64; only F32, F16 and BF16"), e.getMessage());
    }
  }

  @Test
  void aFileThatShrinksWhileItIsOpenIsNoticed() throws IOException {
    Path path =
        TestCheckpoints.write(
            folder.resolve("a.safetensors"), a("F32", "[2]", "[0,8]"), new byte[8]);
    try (WeightFile file = WeightFile.open(path)) {
      file.tensor("a");
      try (RandomAccessFile writable = new RandomAccessFile(path.toFile(), "rw")) {
        writable.setLength(writable.length() - 1);
      }
      var e = assertThrows(BadInputException.class, () -> file.tensor("a"));
      assertTrue(e.getMessage().startsWith(path + ": was "), e.getMessage());
    }
  }

  @Test
  void tensorsBeyondTwoGibibytesAreReadWhole() throws IOException {
    long elements = (5L << 30) / 4;
    String header =
        String.format(
                Locale.ROOT,
                "{\"small\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%d,%d]},",
                elements * 4,
                elements * 4 + 4)
            + String.format(
                Locale.ROOT,
                "\"large\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%d]}}",
                elements,
                elements * 4);
    Path path = TestCheckpoints.write(folder.resolve("a.safetensors"), header, new byte[0]);
    try (RandomAccessFile sparse = new RandomAccessFile(path.toFile(), "rw")) {
      long start = sparse.length();
      sparse.setLength(start + elements * 4 + 4);
      sparse.seek(start + elements * 4 - 1);
      sparse.write(new byte[] {0x3f, 0, 0, 0, 0x40});
    }
    try (WeightFile file = WeightFile.open(path)) {
      HostTensor large = file.tensor("large");
      assertEquals(elements, large.elements());
      assertEquals(0x3f, large.data().get(ValueLayout.JAVA_BYTE, large.data().byteSize() - 1));
      assertEquals(2f, file.tensor("small").data().get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0));
    }
  }

  @Test
  void aHeaderOfTheLargestLegalSizeFitsASmallHeap() throws Exception {
    Path path = folder.resolve("huge.safetensors");
    writeHugeHeader(path, TableLimits.MAX_TENSORS);
    assertEquals("tensors: " + TableLimits.MAX_TENSORS, runWithSmallHeap(path));
    writeHugeHeader(path, 1_500_000);
    assertTrue(runWithSmallHeap(path).contains("holds more than 200000 tensors"));
  }

  /** A header as near to 100 MB as whole entries come, padded with spaces. */
  private static void writeHugeHeader(Path path, int tensors) throws IOException {
    StringBuilder json = new StringBuilder(100_000_000).append('{');
    for (int i = 0; i < tensors; i++) {
      json.append(i == 0 ? "\"" : ",\"")
          .append(i)
          .append(tensors <= TableLimits.MAX_TENSORS ? "x".repeat(122) : "")
          .append("\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}");
    }
    json.append('}');
    json.repeat(' ', 100_000_000 - json.length());
    TestCheckpoints.write(path, json.toString(), new byte[0]);
  }

  private static String runWithSmallHeap(Path path) throws Exception {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                OpenFile.class.getName(),
                path.toString())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), UTF_8);
    process.waitFor();
    return output.strip();
  }

  /** Opens a file in a process of its own. */
  static final class OpenFile {
    private OpenFile() {}

    public static void main(String[] args) {
      try (WeightFile file = WeightFile.open(Path.of(args[0]))) {
        System.out.println("tensors: " + file.tensors().size());
      } catch (BadInputException e) {
        System.out.println(e.getMessage());
      }
    }
  }

  /** Whatever is done to a good file, it opens or is refused; nothing else, and soon. */
  @Test
  void mutatedFilesOpenOrAreRefused() throws IOException {
    byte[] good =
        TestCheckpoints.read(
            Fixtures.RESOURCES.resolve("quantised/fp8_block/model/model.safetensors"));
    Path path = TestCheckpoints.writeBytes(folder.resolve("m.safetensors"), good);
    int header = 8 + (int) ByteBuffer.wrap(good).order(ByteOrder.LITTLE_ENDIAN).getLong();
    int refused =
        MutatedFiles.refused(
            MutatedFiles.COUNT,
            path,
            header,
            "{}[],:\"\\0123456789-+.eE \u0000\n\u00ff",
            () -> {
              try (WeightFile file = WeightFile.open(path)) {
                long total = 0;
                for (TensorInfo tensor : file.tensors()) {
                  total += file.bytes(tensor.name()).byteSize();
                }
                assertTrue(total < good.length);
                return total;
              }
            });
    assertTrue(refused > 300, refused + " refused");
  }

  private static void assertBad(Path path, String message) {
    var e = assertThrows(BadInputException.class, () -> WeightFile.open(path));
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertTrue(e.getMessage().startsWith(path + ": "), e.getMessage());
  }
}
