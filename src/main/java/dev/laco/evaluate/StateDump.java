package dev.laco.evaluate;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.text.TextChunks.Chunk;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes hidden states and logits of token lists: {@code <i>.final_hidden [T, d]}, after the final
 * norm, {@code <i>.logits [T, V]} and, where a tokenizer made the ids, {@code <i>.tokens [T]}. All
 * are f32, which holds ids exactly, since they are far below 2^24. Logits are computed and written
 * a few rows at a time.
 */
final class StateDump {
  private static final int ROWS = 16;

  private StateDump() {}

  /**
   * Writes {@code file}, which must not exist; if that fails, there is no such file.
   *
   * @return bytes of the tensors in it
   * @throws dev.laco.ResourceException if the file exists, or the disk is full or cannot be written
   * @throws dev.laco.CancelledException if the job was cancelled
   */
  static long write(CausalLm model, List<Chunk> chunks, boolean withTokens, Path file) {
    int longest = chunks.stream().mapToInt(Chunk::length).max().orElseThrow();
    try (States states = new States(model, longest)) {
      List<OutputTensor> tensors = new ArrayList<>();
      for (int i = 0; i < chunks.size(); i++) {
        int list = i;
        int[] ids = chunks.get(i).ids();
        tensors.add(
            tensor(
                i + ".final_hidden",
                ids,
                model.config().hiddenSize(),
                target -> states.writeHidden(list, ids, target)));
        tensors.add(
            tensor(
                i + ".logits",
                ids,
                model.config().vocabSize(),
                target -> states.writeLogits(list, ids, target)));
        if (withTokens) {
          tensors.add(
              new OutputTensor(
                  i + ".tokens",
                  DType.F32,
                  List.of((long) ids.length),
                  target -> write(asFloats(ids), target)));
        }
      }
      writeOrDelete(tensors, file);
      return tensors.stream().mapToLong(OutputTensor::byteSize).sum();
    }
  }

  private static void writeOrDelete(List<OutputTensor> tensors, Path file) {
    boolean others = Files.exists(file, LinkOption.NOFOLLOW_LINKS);
    try {
      new SafetensorsWriter(tensors).write(file, written -> {});
    } catch (RuntimeException e) {
      try {
        if (!others) {
          Files.deleteIfExists(file);
        }
      } catch (IOException again) {
        e.addSuppressed(again);
      }
      throw e;
    }
  }

  private static OutputTensor tensor(
      String name, int[] ids, int columns, OutputTensor.Content content) {
    return new OutputTensor(name, DType.F32, List.of((long) ids.length, (long) columns), content);
  }

  private static float[] asFloats(int[] ids) {
    float[] values = new float[ids.length];
    for (int i = 0; i < ids.length; i++) {
      values[i] = ids[i];
    }
    return values;
  }

  private static void write(float[] values, FileChannel target) throws IOException {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values);
    OutputTensor.write(MemorySegment.ofBuffer(bytes), target);
  }

  /** The last hidden states of one list at a time. */
  private static final class States implements AutoCloseable {
    private final CausalLm model;
    private final TensorArena arena;
    private final Workspace work;
    private final Tensor hidden;
    private final Tensor logits;
    private int current = -1;

    States(CausalLm model, int longest) {
      Backend backend = model.backend();
      this.model = model;
      this.arena = backend.arena();
      this.work = new Workspace(backend, model.config(), longest);
      this.hidden = arena.allocate(DType.F32, longest, model.config().hiddenSize());
      this.logits = arena.allocate(DType.F32, Math.min(ROWS, longest), model.config().vocabSize());
    }

    void writeHidden(int list, int[] ids, FileChannel target) throws IOException {
      run(list, ids);
      for (int row = 0; row < ids.length; row += ROWS) {
        write(hidden.slice(row, Math.min(ids.length, row + ROWS)), target);
      }
    }

    void writeLogits(int list, int[] ids, FileChannel target) throws IOException {
      run(list, ids);
      for (int row = 0; row < ids.length; row += ROWS) {
        int end = Math.min(ids.length, row + ROWS);
        Tensor out = logits.slice(0, end - row);
        model.logits(hidden.slice(row, end), out);
        write(out, target);
      }
      model.release();
    }

    /** Both tensors of a list come from one forward pass. */
    private void run(int list, int[] ids) {
      if (current != list) {
        Tensor states = hidden.slice(0, ids.length);
        try (TokenBatch batch = model.batch(PackedSequences.of(List.of(ids)))) {
          model.run(batch, states, work);
        }
        current = list;
      }
    }

    private void write(Tensor tensor, FileChannel target) throws IOException {
      float[] values = new float[Math.toIntExact(tensor.elements())];
      model.backend().download(tensor, values);
      StateDump.write(values, target);
    }

    @Override
    public void close() {
      work.close();
      arena.close();
    }
  }
}
