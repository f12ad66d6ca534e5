package dev.laco.checkpoint;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;
import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.Fixtures;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/** Checkpoints to break: copies of the fixtures, and files made by hand. */
public final class TestCheckpoints {
  private TestCheckpoints() {}

  /** A copy of a fixture's checkpoint. */
  public static Path copy(String name, Path target) {
    try {
      Files.createDirectories(target);
      try (Stream<Path> files = Files.list(Fixtures.model(name))) {
        for (Path file : files.toList()) {
          Files.copy(file, target.resolve(file.getFileName().toString()));
        }
      }
      return target;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A safetensors file of this header and these data bytes. */
  public static Path write(Path file, String header, byte[] data) {
    byte[] json = header.getBytes(UTF_8);
    return write(file, json.length, json, data);
  }

  /** A safetensors file whose header length is whatever it is said to be. */
  public static Path write(Path file, long headerLength, byte[] header, byte[] data) {
    ByteBuffer bytes =
        ByteBuffer.allocate(8 + header.length + data.length).order(ByteOrder.LITTLE_ENDIAN);
    return writeBytes(file, bytes.putLong(headerLength).put(header).put(data).array());
  }

  /** A file of these bytes. */
  public static Path writeBytes(Path file, byte[] bytes) {
    try {
      return Files.write(file, bytes);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A file's bytes. */
  public static byte[] read(Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Deletes a file. */
  public static void delete(Path file) {
    try {
      Files.delete(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Edits a text file. */
  public static void edit(Path file, UnaryOperator<String> change) {
    String before = new String(read(file), UTF_8);
    String after = change.apply(before);
    if (after.equals(before)) {
      throw new IllegalArgumentException("nothing changed in " + file);
    }
    writeBytes(file, after.getBytes(UTF_8));
  }

  /** Makes a bf16 tensor of a checkpoint an f32 one, and the checkpoint one file. */
  public static void widen(Path model, String widened) throws IOException {
    Path single = model.resolve("new");
    List<Path> old = new ArrayList<>(List.of(model.resolve("model.safetensors.index.json")));
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      List<OutputTensor> tensors = new ArrayList<>();
      for (String name : checkpoint.weightNames()) {
        WeightFile file = checkpoint.file(name);
        tensors.add(OutputTensor.copy(name, file, name));
        if (name.equals(widened)) {
          HostTensor tensor = file.tensor(name);
          float[] values = new float[(int) tensor.elements()];
          for (int i = 0; i < values.length; i++) {
            // A little more than bf16 holds, so that rounding it back shows.
            values[i] =
                DType.bf16ToFloat(tensor.data().getAtIndex(JAVA_SHORT_UNALIGNED, i)) * 1.0012f;
          }
          MemorySegment data =
              MemorySegment.ofArray(MemorySegment.ofArray(values).toArray(JAVA_BYTE));
          tensors.set(tensors.size() - 1, OutputTensor.of(name, DType.F32, tensor.shape(), data));
        }
      }
      checkpoint.files().forEach(file -> old.add(file.path()));
      new SafetensorsWriter(tensors).write(single, bytes -> {});
    }
    for (Path file : old) {
      Files.delete(file);
    }
    Files.move(single, model.resolve("model.safetensors"));
  }

  /** The weights that were computed from a file's bytes and are in memory. */
  public static List<String> decoded(Checkpoint checkpoint) {
    return checkpoint.weightNames().stream()
        .filter(name -> checkpoint.file(name).isDecoded(name))
        .toList();
  }

  /** Sets an element of a tensor in f32. */
  public static void setElement(Path model, String name, long index, float value) {
    Path file;
    long offset;
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      file = checkpoint.file(name).path();
      offset = checkpoint.file(name).info(name).offset() + 4 * index;
    }
    try (RandomAccessFile writable = new RandomAccessFile(file.toFile(), "rw")) {
      writable.seek(offset);
      writable.writeInt(Integer.reverseBytes(Float.floatToRawIntBits(value)));
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }
}
