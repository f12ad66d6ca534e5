package dev.laco.bench.gpu;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.ResourceException;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.ShardedWriter;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ShortBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;

/**
 * A checkpoint of a model's shapes with made-up weights in bf16, and texts of random tokens, in a
 * temporary folder that is deleted at the end.
 *
 * <p>The weights are random, with one exception: a prune keeps a fit only if the fit makes a text
 * more likely. Therefore every layer adds about the same positive number to the first channel of
 * the hidden states, which the head ignores. Gate and up projection are the same matrix, so that
 * their products are not negative, and all weights of the down projection for that channel are
 * positive. The final norm scales all channels together: with fewer layers the first channel is
 * smaller, so that the others and the logits are larger, and random tokens are less likely. A fit
 * gives the channel back what it lacks.
 */
final class MadeUpCheckpoint implements AutoCloseable {
  private static final DType DTYPE = DType.BF16;
  private static final long SHARD_BYTES = 4_000_000_000L;
  private static final int BUFFER_BYTES = 1 << 20;

  /** Random numbers that all matrices are made of; odd, so that rows differ. */
  private static final int NUMBERS = (1 << 22) + 1;

  /** The standard deviation of a logit. */
  private static final double LOGIT = 2;

  /** The square of the first channel of the hidden states, relative to those of all others. */
  private static final double FIRST = 3;

  /** About the variance that a layer adds to every channel of the hidden states. */
  private static final double ADDED = 1.5;

  private static final ObjectMapper JSON = new ObjectMapper();

  private final ModelConfig config;
  private final Path folder;
  private final Thread onShutdown = new Thread(this::abandon, "laco-bench-checkpoint");

  /**
   * Makes the checkpoint.
   *
   * @throws ResourceException if there is no room for it
   */
  MadeUpCheckpoint(ModelConfig config) {
    if (config.tieWordEmbeddings()) {
      throw new IllegalArgumentException("the head has weights of its own");
    }
    this.config = config;
    try {
      this.folder = Files.createTempDirectory("laco-bench-");
    } catch (IOException e) {
      throw new ResourceException("cannot make a folder for a checkpoint: " + e.getMessage(), e);
    }
    Runtime.getRuntime().addShutdownHook(onShutdown);
    try {
      write("config.json", json());
      new ShardedWriter(tensors(), SHARD_BYTES).write(folder, bytes -> {});
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** The checkpoint's folder. */
  Path folder() {
    return folder;
  }

  /**
   * Writes token-id lists into the folder.
   *
   * @param lengths tokens of each list
   */
  Path text(String name, List<Integer> lengths) {
    SplittableRandom random = new SplittableRandom(lengths.size());
    return write(
        name,
        lengths.stream()
            .map(length -> random.ints(length, 0, config.vocabSize()).toArray())
            .toList());
  }

  private Path write(String name, Object json) {
    Path file = folder.resolve(name);
    try {
      Files.write(file, JSON.writeValueAsBytes(json));
    } catch (IOException e) {
      throw new ResourceException("cannot write " + file + ": " + e.getMessage(), e);
    }
    return file;
  }

  private Map<String, Object> json() {
    return Map.ofEntries(
        Map.entry("architectures", List.of(config.architecture().className())),
        Map.entry("model_type", config.architecture().modelType()),
        Map.entry("num_hidden_layers", config.numHiddenLayers()),
        Map.entry("hidden_size", config.hiddenSize()),
        Map.entry("intermediate_size", config.intermediateSize()),
        Map.entry("num_attention_heads", config.numAttentionHeads()),
        Map.entry("num_key_value_heads", config.numKeyValueHeads()),
        Map.entry("head_dim", config.headDim()),
        Map.entry("vocab_size", config.vocabSize()),
        Map.entry("max_position_embeddings", config.maxPositionEmbeddings()),
        Map.entry("rms_norm_eps", config.rmsNormEps()),
        Map.entry("hidden_act", "silu"),
        Map.entry("tie_word_embeddings", config.tieWordEmbeddings()));
  }

  private List<OutputTensor> tensors() {
    Architecture architecture = config.architecture();
    List<OutputTensor> tensors = new ArrayList<>();
    short[] numbers = numbers();
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      for (TensorSpec spec : architecture.layerTensors(config, layer)) {
        String name = architecture.tensorName(layer, spec);
        // Gate and up projection are the same matrix.
        String values = spec.has(LayerRole.UP) ? name.replace("up_proj", "gate_proj") : name;
        tensors.add(tensor(name, spec.shape(), spec.has(LayerRole.DOWN), numbers, values));
      }
    }
    long hidden = config.hiddenSize();
    List<Long> table = List.of((long) config.vocabSize(), hidden);
    tensors.add(tensor(architecture.embedding(), table, false, numbers, "embedding"));
    tensors.add(tensor(architecture.finalNorm(), List.of(hidden), false, numbers, "norm"));
    tensors.add(tensor(architecture.head(), table, false, numbers, "head"));
    return tensors;
  }

  /** Uniform in {@code (-1, 1)}, in bf16. */
  private static short[] numbers() {
    SplittableRandom random = new SplittableRandom(1);
    short[] numbers = new short[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) {
      numbers[i] = DType.toBf16(random.nextDouble(-1, 1));
    }
    return numbers;
  }

  /**
   * A tensor: norms are ones, matrices keep the size of what they multiply, the head aside.
   *
   * @param down whether it is a down projection
   * @param values names the numbers that a matrix is made of
   */
  private OutputTensor tensor(
      String name, List<Long> shape, boolean down, short[] numbers, String values) {
    int start = Math.floorMod(values.hashCode(), NUMBERS);
    int columns = Math.toIntExact(shape.getLast());
    boolean head = name.equals(config.architecture().head());
    double scale = (head ? LOGIT * Math.sqrt(1 + FIRST) : 1) * Math.sqrt(3.0 / columns);
    return new OutputTensor(
        name,
        DTYPE,
        shape,
        target -> {
          if (shape.size() == 1) {
            short[] ones = new short[columns];
            Arrays.fill(ones, DType.toBf16(1));
            write(target, 1, columns, (row, to) -> to.put(ones));
            return;
          }
          short[] scaled = new short[NUMBERS];
          for (int i = 0; i < NUMBERS; i++) {
            scaled[i] = DType.toBf16(DType.bf16ToFloat(numbers[i]) * scale);
          }
          short[] first = new short[columns];
          Arrays.fill(first, DType.toBf16(firstChannel()));
          write(
              target,
              shape.getFirst(),
              columns,
              (row, to) -> {
                if (down && row == 0) {
                  to.put(first);
                  return;
                }
                int at = to.position();
                to.put(scaled, (int) ((start + row * columns) % (NUMBERS - columns)), columns);
                if (head) {
                  to.put(at, (short) 0);
                }
              });
        });
  }

  /**
   * The weight of the down projection for the first channel. A product of gate and up projection is
   * 1/2 on average.
   */
  private double firstChannel() {
    double added = Math.sqrt(FIRST * ADDED * config.hiddenSize() / config.numHiddenLayers());
    return 2 * added / config.intermediateSize();
  }

  /** Puts a row at the position of a buffer. */
  private interface Rows {
    void put(long row, ShortBuffer to);
  }

  private static void write(FileChannel target, long rows, int columns, Rows content)
      throws IOException {
    int some = Math.max(1, BUFFER_BYTES / (2 * columns));
    ByteBuffer bytes = ByteBuffer.allocate(2 * some * columns).order(ByteOrder.LITTLE_ENDIAN);
    for (long row = 0; row < rows; row += some) {
      ShortBuffer to = bytes.clear().asShortBuffer();
      for (long i = row; i < Math.min(rows, row + some); i++) {
        content.put(i, to);
      }
      bytes.limit(2 * to.position());
      while (bytes.hasRemaining()) {
        target.write(bytes);
      }
    }
  }

  @Override
  public void close() {
    Runtime.getRuntime().removeShutdownHook(onShutdown);
    try {
      delete();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The process was interrupted. */
  private void abandon() {
    try {
      delete();
    } catch (IOException e) {
      System.err.println("gpu-bench: cannot delete " + folder + ": " + e.getMessage());
    }
  }

  private void delete() throws IOException {
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    }
  }
}
