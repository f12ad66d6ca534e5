package dev.laco.checkpoint.gguf;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import dev.laco.BadInputException;
import dev.laco.model.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

class GgufHeaderTest {
  private static final int MOST = 1000;
  private static final int ARRAY = 9;
  private static final int STRING = 8;

  private static MemorySegment types() throws IOException {
    return MemorySegment.ofArray(Files.readAllBytes(TestGguf.TYPES));
  }

  private static GgufHeader read(MemorySegment bytes) {
    return GgufHeader.read(Path.of("a.gguf"), bytes, MOST);
  }

  private static GgufHeader read(byte[] bytes) {
    return read(MemorySegment.ofArray(bytes));
  }

  @ParameterizedTest
  @EnumSource
  void quantisedValuesAreThoseOfGgufPy(GgufType type) throws IOException {
    if (!type.isQuantised() || type.dtype() == null) {
      return;
    }
    MemorySegment file = types();
    Map<String, GgufTensor> tensors =
        read(file).tensors().stream().collect(Collectors.toMap(GgufTensor::name, t -> t));
    GgufTensor tensor = tensors.get(type.name());
    GgufTensor expected = tensors.get(type.name() + ".values");
    assertEquals(type, tensor.type());
    assertEquals(List.of(2L, 512L), tensor.shape());
    MemorySegment values = MemorySegment.ofArray(new byte[2 * 512 * Float.BYTES]);
    MemorySegment blocks = file.asSlice(tensor.offset(), tensor.byteSize());
    type.dequantise(blocks, DType.F32, values);
    assertArrayEquals(
        file.asSlice(expected.offset(), expected.byteSize()).toArray(ValueLayout.JAVA_BYTE),
        values.toArray(ValueLayout.JAVA_BYTE));
    if (type.dtype() == DType.BF16) {
      MemorySegment narrow = MemorySegment.ofArray(new byte[2 * 512 * Short.BYTES]);
      type.dequantise(blocks, DType.BF16, narrow);
      for (int i = 0; i < 2 * 512; i++) {
        assertEquals(
            values.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i),
            DType.bf16ToFloat(narrow.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i)));
      }
    }
  }

  @Test
  void metadataOfEveryTypeIsRead() throws IOException {
    GgufMetadata metadata = read(types()).metadata();
    assertEquals("made-up", metadata.string("general.architecture").orElseThrow());
    assertEquals(255, metadata.integer("an.uint8").orElseThrow());
    assertEquals(-128, metadata.integer("an.int8").orElseThrow());
    assertEquals(65_535, metadata.integer("an.uint16").orElseThrow());
    assertEquals(-32_768, metadata.integer("an.int16").orElseThrow());
    assertEquals(4_294_967_295L, metadata.integer("an.uint32").orElseThrow());
    assertEquals(Integer.MIN_VALUE, metadata.integer("an.int32").orElseThrow());
    assertEquals(1e-5, metadata.number("a.float32").orElseThrow());
    assertTrue(metadata.bool("a.bool").orElseThrow());
    assertEquals("naïve\n🐈", metadata.string("a.string").orElseThrow());
    assertEquals("18446744073709551615", metadata.show("an.uint64"));
    assertThrows(BadInputException.class, () -> metadata.integer("an.uint64"));
    assertEquals(Long.MIN_VALUE, metadata.integer("an.int64").orElseThrow());
    assertEquals(1e-300, metadata.number("a.float64").orElseThrow());
    assertEquals(List.of("", "a", "猫"), metadata.strings("a.list.of.strings"));
    assertEquals(List.of(3, -1, 2), metadata.integers("a.list.of.numbers"));
    assertEquals(List.of(0.5f, -1.25f), metadata.numbers("a.list.of.floats"));
    assertEquals("string[3]", metadata.show("a.list.of.strings"));
    assertEquals("naïve\\n🐈", metadata.show("a.string"));
    assertTrue(metadata.string("absent").isEmpty());
    assertEquals(List.of(), metadata.strings("absent"));
    assertFalse(metadata.has("absent"));
    BadInputException wrong =
        assertThrows(BadInputException.class, () -> metadata.string("an.uint8"));
    assertEquals("a.gguf: metadata 'an.uint8' is 255, expected a string", wrong.getMessage());
    assertThrows(BadInputException.class, () -> metadata.integers("a.list.of.strings"));
    assertThrows(BadInputException.class, () -> metadata.integer("a.list.of.numbers"));
  }

  @Test
  void tensorsMayLieInAnyOrderWithGapsAndOwnAlignment() {
    byte[] bytes =
        TestGguf.file(3, 1)
            .string("general.alignment")
            .int32(4)
            .int32(64)
            .tensor("b", 0, 128, 3)
            .tensor("a", 8, 0, 64, 1)
            .tensor("nothing", 0, 0, 0)
            .data(300);
    List<GgufTensor> tensors = read(bytes).tensors();
    assertEquals(List.of("nothing", "a", "b"), tensors.stream().map(GgufTensor::name).toList());
    assertEquals(0, tensors.get(0).offset() % 64);
    assertEquals(List.of(1L, 64L), tensors.get(1).shape());
    assertEquals(68, tensors.get(1).byteSize());
    assertEquals(tensors.get(1).offset() + 128, tensors.get(2).offset());
  }

  @Test
  void versionTwoIsReadAsVersionThree() throws IOException {
    byte[] bytes = Files.readAllBytes(TestGguf.TYPES);
    List<GgufTensor> tensors = read(bytes).tensors();
    bytes[4] = 2;
    assertEquals(tensors, read(bytes).tensors());
  }

  @Test
  void aFileThatEndsEarlyIsRefused() throws IOException {
    MemorySegment whole = types();
    for (long size = 0; size < whole.byteSize(); size += size < 2000 ? 1 : 4999) {
      MemorySegment begin = whole.asSlice(0, size);
      assertThrows(BadInputException.class, () -> read(begin), () -> begin.byteSize() + " bytes");
    }
  }

  static Stream<Arguments> broken() {
    long huge = 1L << 61;
    return Stream.of(
        arguments("GGUF file", new TestGguf().int32(0x12345678)),
        arguments("version 0", new TestGguf().int32(GgufHeader.MAGIC)),
        arguments("big-endian", new TestGguf().int32(GgufHeader.MAGIC).int32(3 << 24)),
        arguments("version 1", new TestGguf().int32(GgufHeader.MAGIC).int32(1)),
        arguments("version 4294967295", new TestGguf().int32(GgufHeader.MAGIC).int32(-1)),
        arguments("18446744073709551615 tensors", TestGguf.file(-1, 0)),
        arguments("1001 tensors; at most 1000", TestGguf.file(1001, 0)),
        arguments("entries", TestGguf.file(0, huge)),
        arguments("entries", TestGguf.file(0, -1)),
        arguments("at most 256", TestGguf.file(0, 1).string("k".repeat(257))),
        arguments("empty", TestGguf.file(0, 1).string("")),
        arguments(
            "twice", TestGguf.file(0, 2).string("k").int32(7).int8(1).string("k").int32(7).int8(1)),
        arguments("value type 13", TestGguf.file(0, 1).string("k").int32(13)),
        arguments("value type 4294967295", TestGguf.file(0, 1).string("k").int32(-1)),
        arguments("'k' is 2", TestGguf.file(0, 1).string("k").int32(7).int8(2)),
        arguments(
            "list of lists", TestGguf.file(0, 1).string("k").int32(ARRAY).int32(ARRAY).int64(1)),
        arguments("elements", TestGguf.file(0, 1).string("k").int32(ARRAY).int32(4).int64(huge)),
        arguments("truncated", TestGguf.file(0, 1).string("k").int32(ARRAY).int32(4).int64(1000)),
        arguments(
            "truncated",
            TestGguf.file(0, 1).string("k").int32(ARRAY).int32(STRING).int64(1).int64(huge)),
        arguments("truncated", TestGguf.file(0, 1).string("k").int32(STRING).int64(-1)),
        arguments("power of two", alignment(0)),
        arguments("power of two", alignment(48)),
        arguments("power of two", alignment(1 << 30)),
        arguments("UTF-8", TestGguf.file(1, 0).int64(1).int8(0xff)),
        arguments("at most 63", TestGguf.file(1, 0).tensor("n".repeat(64), 0, 0, 1)),
        arguments("5 dimensions", TestGguf.file(1, 0).tensor("t", 0, 0, 1, 1, 1, 1, 1)),
        arguments("extent of 18446744073709551615", TestGguf.file(1, 0).tensor("t", 0, 0, -1)),
        arguments("element type 4,", TestGguf.file(1, 0).tensor("t", 4, 0, 32)),
        arguments("overflows", TestGguf.file(1, 0).tensor("t", 0, 0, huge, 8)),
        arguments("overflows", TestGguf.file(1, 0).tensor("t", 0, 0, huge)),
        arguments("no multiple of the 32", TestGguf.file(1, 0).tensor("t", 2, 0, 33)),
        arguments("no multiple of 32", TestGguf.file(1, 0).tensor("t", 0, 1, 1)),
        arguments("no multiple of 32", TestGguf.file(1, 0).tensor("t", 0, -32, 1)),
        arguments("truncated", TestGguf.file(1, 0).tensor("t", 0, 32, 1)),
        arguments("truncated", TestGguf.file(1, 0).tensor("t", 0, Long.MAX_VALUE - 31, 1)),
        arguments("truncated", TestGguf.file(1, 0).tensor("t", 0, 0, 9)),
        arguments("twice", TestGguf.file(2, 0).tensor("t", 0, 0, 1).tensor("t", 0, 0, 0)),
        arguments(
            "'u' overlaps 't'", TestGguf.file(2, 0).tensor("t", 0, 0, 1).tensor("u", 0, 0, 2)));
  }

  private static TestGguf alignment(int value) {
    return TestGguf.file(0, 1).string("general.alignment").int32(4).int32(value);
  }

  /** Metadata are put together in memory when a pruned model is written. */
  @Test
  void metadataOfManyBytesAreRefused() {
    byte[] begin = TestGguf.file(0, 1).string("long").int32(9).int32(12).int64(8_500_000).data(0);
    try (Arena memory = Arena.ofConfined()) {
      MemorySegment bytes = memory.allocate(begin.length + 68_000_000L);
      MemorySegment.copy(begin, 0, bytes, ValueLayout.JAVA_BYTE, 0, begin.length);
      BadInputException refused =
          assertThrows(
              BadInputException.class, () -> GgufHeader.read(Path.of("a.gguf"), bytes, 10));
      assertTrue(refused.getMessage().contains("more than 67,108,864 bytes"), refused::getMessage);
    }
  }

  @ParameterizedTest
  @MethodSource
  void broken(String problem, TestGguf file) {
    BadInputException refused =
        assertThrows(BadInputException.class, () -> read(file.data(32)), problem);
    assertTrue(refused.getMessage().startsWith("a.gguf: "), refused::getMessage);
    assertTrue(refused.getMessage().contains(problem), refused::getMessage);
  }
}
