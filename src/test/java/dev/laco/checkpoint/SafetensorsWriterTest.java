package dev.laco.checkpoint;

import static dev.laco.Fixtures.model;
import static dev.laco.checkpoint.TestCheckpoints.read;
import static java.nio.charset.StandardCharsets.UTF_8;
import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static java.nio.file.StandardOpenOption.WRITE;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.ResourceException;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsWriterTest {
  @TempDir Path folder;

  @Test
  void theBytesAreThoseOfTheFormat() {
    List<OutputTensor> tensors =
        List.of(
            OutputTensor.of("b", DType.BF16, List.of(1L), MemorySegment.ofArray(new byte[] {1, 2})),
            OutputTensor.of("a", DType.F16, List.of(1L), MemorySegment.ofArray(new byte[] {3, 4})),
            OutputTensor.of(
                "\"z\"", DType.F32, List.of(), MemorySegment.ofArray(new byte[] {5, 6, 7, 8})),
            OutputTensor.of("e", DType.F32, List.of(0L, 2L), MemorySegment.ofArray(new byte[0])));
    Path file = folder.resolve("a.safetensors");
    new SafetensorsWriter(tensors).write(file, bytes -> {});
    String json =
        "{\"__metadata__\":{\"format\":\"pt\"},"
            + "\"\\\"z\\\"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
            + "\"e\":{\"dtype\":\"F32\",\"shape\":[0,2],\"data_offsets\":[4,4]},"
            + "\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[4,6]},"
            + "\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[6,8]}}";
    int padded = (json.length() + 7) / 8 * 8;
    String expected =
        (char) (padded & 0xff)
            + ""
            + (char) (padded >> 8)
            + "\0\0\0\0\0\0"
            + json
            + " ".repeat(padded - json.length())
            + "\5\6\7\10\1\2\3\4";
    assertEquals(expected, new String(read(file), java.nio.charset.StandardCharsets.ISO_8859_1));
  }

  static Stream<Path> filesOfTheFormatsOwnLibrary() throws IOException {
    try (Stream<Path> files = Files.walk(Path.of("src/test/resources/fixtures"))) {
      return files
          .filter(file -> file.getParent().endsWith("model"))
          .filter(file -> file.toString().endsWith(".safetensors"))
          .sorted()
          .toList()
          .stream();
    }
  }

  @ParameterizedTest
  @MethodSource("filesOfTheFormatsOwnLibrary")
  void aFileOfTheFormatsOwnLibraryIsWrittenAgainByteForByte(Path original) {
    try (WeightFile file = WeightFile.open(original)) {
      List<OutputTensor> tensors = new ArrayList<>();
      for (TensorInfo tensor : file.tensors()) {
        tensors.add(OutputTensor.copy(tensor.name(), file, tensor.name()));
      }
      Collections.shuffle(tensors, new Random(1));
      SafetensorsWriter writer = new SafetensorsWriter(tensors);
      Path copy = folder.resolve("copy.safetensors");
      long[] progress = new long[1];
      writer.write(copy, bytes -> progress[0] += bytes);
      assertArrayEquals(read(original), read(copy));
      assertEquals(writer.fileSize(), read(copy).length);
      assertEquals(file.tensors().stream().mapToLong(TensorInfo::byteSize).sum(), progress[0]);
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 20_000, 41_100, 66_000, 100_000, 300_000, 1_000_000, Long.MAX_VALUE})
  void shardsAreAtMostAsLargeAsAsked(long limit) throws IOException {
    try (Checkpoint model = Checkpoint.open(model("llama_untied_gqa"))) {
      List<OutputTensor> tensors =
          model.weightNames().stream()
              .map(name -> OutputTensor.copy(name, model.file(name), name))
              .toList();
      ShardedWriter writer = new ShardedWriter(tensors, limit);
      writer.write(folder, bytes -> {});
      long written = 0;
      try (Stream<Path> files = Files.list(folder)) {
        for (Path file : files.toList()) {
          written += Files.size(file);
          if (file.toString().endsWith(".safetensors") && Files.size(file) > limit) {
            try (WeightFile shard = WeightFile.open(file)) {
              assertEquals(1, shard.tensors().size(), file + " could be split");
            }
          }
        }
      }
      assertEquals(writer.totalFileSize(), written);
      boolean one = limit == Long.MAX_VALUE;
      assertEquals(one, Files.exists(folder.resolve("model.safetensors")));
      assertEquals(one, !Files.exists(folder.resolve("model.safetensors.index.json")));
      Files.copy(model("llama_untied_gqa").resolve("config.json"), folder.resolve("config.json"));
      try (Checkpoint again = Checkpoint.open(folder)) {
        assertEquals(model.digest(), again.digest());
        for (String name : model.weightNames()) {
          assertEquals(-1, model.tensor(name).data().mismatch(again.tensor(name).data()), name);
        }
        if (!one) {
          var index = InputJson.readObject(folder.resolve("model.safetensors.index.json"));
          assertEquals(model.totalBytes(), index.at("/metadata/total_size").longValue());
        }
      }
    }
  }

  @Test
  void aTensorBehindTwoGibibytesIsCopied() throws IOException {
    long size = (1L << 31) + 8;
    String header =
        String.format(
            Locale.ROOT,
            "{\"large\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[0,%d]},"
                + "\"small\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[%d,%d]}}",
            size / 2,
            size,
            size,
            size + 8);
    Path path = TestCheckpoints.write(folder.resolve("a.safetensors"), header, new byte[0]);
    try (RandomAccessFile sparse = new RandomAccessFile(path.toFile(), "rw")) {
      sparse.seek(sparse.length() + size);
      sparse.writeLong(0x0102030405060708L);
    }
    Path copy = folder.resolve("copy");
    try (WeightFile file = WeightFile.open(path);
        FileChannel small = FileChannel.open(copy, CREATE_NEW, WRITE)) {
      small.position(3);
      file.copyTo("small", small);
      assertEquals(11, small.position());
    }
    assertArrayEquals(new byte[] {0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, read(copy));
  }

  @Test
  void aSourceThatEndsEarlyIsNoticed() throws IOException {
    Path source = TestCheckpoints.writeBytes(folder.resolve("source"), new byte[10]);
    try (FileChannel from = FileChannel.open(source);
        FileChannel to = FileChannel.open(folder.resolve("copy"), CREATE_NEW, WRITE)) {
      var e =
          assertThrows(BadInputException.class, () -> OutputFiles.transfer(source, from, 4, 8, to));
      assertTrue(e.getMessage().contains("source: ends before byte 12"), e.getMessage());
    }
  }

  @Test
  void aFileThatIsThereIsNotWrittenOver() throws IOException {
    Path file = Files.writeString(folder.resolve("a"), "kept", UTF_8);
    var e =
        assertThrows(
            ResourceException.class,
            () -> new SafetensorsWriter(List.of()).write(file, bytes -> {}));
    assertTrue(e.getMessage().startsWith(file + ": cannot be written"), e.getMessage());
    assertEquals("kept", Files.readString(file));
    assertFalse(e.getMessage().contains("\n"));
  }
}
