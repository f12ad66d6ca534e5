package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.TestFiles;
import dev.laco.inspect.ModelInspection;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A checkpoint of 30 GB in 400 files, whose weights are holes in the files. */
class LargeCheckpointTest {
  private static final int SHARDS = 400;

  private static final String CONFIG =
      """
      {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
       "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
       "num_hidden_layers": 68, "vocab_size": 32000, "torch_dtype": "bfloat16"}
      """;

  @TempDir Path folder;

  @Test
  void isInspectedWithoutReadingItsWeights() throws IOException {
    SparseCheckpoint.write(folder, CONFIG, SHARDS);
    ModelInspection.of(Fixtures.model("llama_untied_gqa")); // loads the classes
    long before = bytesRead();
    ModelInspection model = ModelInspection.of(folder);
    long read = bytesRead() - before;
    assertTrue(model.isSupported(), () -> String.valueOf(model.whyNot()));
    assertEquals(SHARDS, model.files());
    assertTrue(model.bytes() > 30_000_000_000L, () -> model.bytes() + " bytes");
    long headers = 0;
    for (String name : TestFiles.names(folder)) {
      headers += headerBytes(folder.resolve(name));
    }
    long most = 2 * headers;
    assertTrue(
        read < most, () -> read + " bytes were read, twice the headers and the index are " + most);
    try (Checkpoint checkpoint = Checkpoint.open(folder)) {
      checkpoint.digest();
      long resident =
          ResidentPages.bytes(folder.resolve(SparseCheckpoint.shard(SHARDS / 2, SHARDS)));
      assertTrue(resident <= 16_384, () -> resident + " bytes of a shard are in memory");
    }
  }

  private static long headerBytes(Path file) throws IOException {
    if (!file.toString().endsWith(".safetensors")) {
      return Files.size(file);
    }
    try (RandomAccessFile shard = new RandomAccessFile(file.toFile(), "r")) {
      return 8 + Long.reverseBytes(shard.readLong());
    }
  }

  /** Bytes that this process has read from files by system calls. */
  private static long bytesRead() throws IOException {
    return Files.readAllLines(Path.of("/proc/self/io")).stream()
        .filter(line -> line.startsWith("rchar: "))
        .mapToLong(line -> Long.parseLong(line.substring("rchar: ".length())))
        .findFirst()
        .orElseThrow();
  }
}
