package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.gguf.GgufTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.function.Consumer;

/** GGUF files that are made of small models, and what stands in them. */
final class ExportedGguf {
  private ExportedGguf() {}

  /** Writes a model whose weights are multiples of 1/64 between -1 and 1. */
  static Path model(Path folder, String config) throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    SparseCheckpoint.write(model, config, 1);
    Random random = new Random(3);
    try (RandomAccessFile file =
        new RandomAccessFile(model.resolve(SparseCheckpoint.shard(0, 1)).toFile(), "rw")) {
      long header = Long.reverseBytes(file.readLong());
      ByteBuffer values =
          ByteBuffer.allocate((int) (file.length() - 8 - header)).order(ByteOrder.LITTLE_ENDIAN);
      while (values.hasRemaining()) {
        values.putShort((short) (Float.floatToRawIntBits((random.nextInt(127) - 63) / 64f) >> 16));
      }
      file.seek(8 + header);
      file.write(values.array());
    }
    return model;
  }

  /** The file of a model, all values in F32, beside the model. */
  static Path of(Path model) {
    return of(model, warning -> {});
  }

  /** The file of a model, all values in F32, beside the model. */
  static Path of(Path model, Consumer<String> warnings) {
    Path file = model.resolveSibling("out.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      new GgufExport(checkpoint, GgufType.F32, warnings).write(file, bytes -> {});
    }
    return file;
  }

  /**
   * The file that is made of a file by removing a layer.
   *
   * @param layer at least 1
   */
  static Path withoutLayer(int layer, Path file) {
    Path pruned = file.resolveSibling("pruned.gguf");
    try (Checkpoint model = Checkpoint.open(file)) {
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(layer - 1, 1, MergeRule.parse("drop"), NormsPolicy.MERGE);
      new PlanApplier(
              model,
              plan,
              new PlanTensors(NewWeights.NONE),
              new OutputFormat.Gguf(null),
              warning -> {})
          .write(pruned, false, bytes -> {});
    }
    return pruned;
  }

  /** Holds that no file can be made of a model, for a reason that is named. */
  static void assertRefused(Path model, String named) {
    BadInputException refused = assertThrows(BadInputException.class, () -> of(model));
    assertTrue(refused.getMessage().contains(named), refused::getMessage);
  }

  static float value(HostTensor tensor, int at) {
    return tensor.dtype() == DType.F32
        ? tensor.data().getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, at)
        : DType.bf16ToFloat(tensor.data().getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, at));
  }

  /** The values of a tensor of a file in F32. */
  static float[] values(Path file, String name) throws IOException {
    MemorySegment bytes = MemorySegment.ofArray(Files.readAllBytes(file));
    for (GgufTensor tensor : GgufHeader.read(file, bytes, 10_000).tensors()) {
      if (tensor.name().equals(name)) {
        return bytes
            .asSlice(tensor.offset(), tensor.byteSize())
            .toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
      }
    }
    throw new AssertionError(name);
  }

  static GgufMetadata metadata(Path file) throws IOException {
    return GgufHeader.read(file, MemorySegment.ofArray(Files.readAllBytes(file)), 10_000)
        .metadata();
  }

  /**
   * Holds the weights of a file against those of the model that it was made of.
   *
   * @param rounded the end of the names of weights that are rounded
   */
  static void assertSameWeights(Checkpoint model, Checkpoint file, String rounded) {
    assertEquals(model.weightNames(), file.weightNames());
    for (String name : model.weightNames()) {
      HostTensor expected = model.tensor(name);
      HostTensor found = file.tensor(name);
      assertEquals(expected.shape(), found.shape(), name);
      float difference = name.endsWith(rounded) ? 1e-6f : 0;
      for (int i = 0; i < expected.elements(); i++) {
        assertEquals(value(expected, i), value(found, i), difference, name + " " + i);
      }
    }
  }
}
