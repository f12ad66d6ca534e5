package dev.laco.checkpoint.export;

import dev.laco.BadInputException;
import dev.laco.ResourceException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.model.Activation;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.GgufNames;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.RopeParameters;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.function.LongConsumer;

/**
 * Writes a checkpoint as a GGUF file, with the metadata and the names of llama.cpp's converter:
 * matrices in a chosen type, vectors in F32, and the tokenizer.
 */
public final class GgufExport {
  /** The version of the quantised types that llama.cpp reads. */
  private static final int QUANTISATION_VERSION = 2;

  /** Bytes that are converted before they are written. */
  private static final long BUFFER = 8 << 20;

  private final Checkpoint model;
  private final ModelConfig config;
  private final GgufType type;
  private final GgufWriter writer = new GgufWriter();

  /**
   * Prepares the file; writes nothing yet.
   *
   * @param type of matrices: F32, F16, BF16 or Q8_0
   * @param warnings is told, a line each, what the user should know and does not end the work
   * @throws BadInputException if llama.cpp cannot compute the model, or its tokenizer is broken
   */
  public GgufExport(Checkpoint model, GgufType type, Consumer<String> warnings) {
    this.model = model;
    this.config = model.config();
    this.type = type;
    requireMathsOfLlamaCpp(warnings);
    metadata();
    GgufVocabulary.of(model, warnings).write(writer, config.vocabSize());
    tensors();
  }

  /** The type of GGUF in which the values of this type stay what they are. */
  public static GgufType exact(DType dtype) {
    return GgufType.valueOf(dtype.name());
  }

  /** Bytes of all tensors. */
  public long tensorBytes() {
    return writer.tensorBytes();
  }

  /**
   * Writes the file, which must not exist, and forces it to the disk.
   *
   * @param progress told after each tensor how many bytes it had
   * @throws BadInputException if the model's files changed, or a value is too large for the type
   * @throws ResourceException if the disk is full or cannot be written
   */
  public void write(Path file, LongConsumer progress) {
    writer.write(file, progress);
    model.requireIntact();
  }

  /** Compares the model with what llama.cpp computes whatever a file says. */
  private void requireMathsOfLlamaCpp(Consumer<String> warnings) {
    String name = config.architecture().ggufName().orElse("");
    Activation activation = name.startsWith("gemma") ? Activation.GELU_TANH : Activation.SILU;
    if (config.hiddenAct() != activation) {
      throw unsupported("the activation " + config.hiddenAct().configName());
    }
    boolean readsBiases = name.equals("llama") || name.equals("granite");
    if (!readsBiases && (config.outputBias() || config.mlpBias())) {
      throw unsupported("a bias of an output or feed-forward projection");
    }
    int window = widestWindow();
    if (name.equals("phi3") && window > 0 && window < config.maxPositionEmbeddings()) {
      warnings.accept(
          String.format(
              Locale.ROOT,
              "%s: llama.cpp ignores the attention window of %d tokens, so that it computes longer texts differently",
              model.configName(),
              window));
    }
  }

  /** 0 where no layer has a window. */
  private int widestWindow() {
    return config.attention().stream().mapToInt(LayerAttention::window).max().orElse(0);
  }

  private void metadata() {
    Architecture architecture = config.architecture();
    String name =
        architecture
            .ggufName()
            .orElseThrow(() -> unsupported("the architecture " + architecture.className()));
    String prefix = name + ".";
    writer.string("general.architecture", name);
    writer.string("general.type", "model");
    writer.string("general.name", String.valueOf(model.directory().toAbsolutePath().getFileName()));
    writer.number("general.file_type", fileType());
    writer.number("general.quantization_version", QUANTISATION_VERSION);
    writer.number(prefix + "block_count", config.numHiddenLayers());
    writer.number(prefix + "context_length", config.maxPositionEmbeddings());
    writer.number(prefix + "embedding_length", config.hiddenSize());
    writer.number(prefix + "feed_forward_length", config.intermediateSize());
    writer.number(prefix + "attention.head_count", config.numAttentionHeads());
    writer.number(prefix + "attention.head_count_kv", config.numKeyValueHeads());
    writer.number(prefix + "attention.key_length", config.headDim());
    writer.number(prefix + "attention.value_length", config.headDim());
    writer.real(prefix + "attention.layer_norm_rms_epsilon", config.rmsNormEps());
    writer.number(prefix + "vocab_size", config.vocabSize());
    windows(prefix);
    if (name.equals("granite")) {
      writer.real(prefix + "embedding_scale", config.embeddingScale());
      writer.real(prefix + "residual_scale", config.residualScale());
      writer.real(prefix + "attention.scale", config.attentionScores().scale());
      writer.real(prefix + "logit_scale", 1 / config.logits().scale());
    }
    RopeParameters rotation = config.attention().getFirst().rotation();
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      // In files of SmolLM3 llama.cpp leaves out the rotation of every fourth layer.
      boolean rotates = !name.equals("smollm3") || (layer + 1) % 4 != 0;
      if (!Objects.equals(config.attention().get(layer).rotation(), rotates ? rotation : null)) {
        throw unsupported(String.format(Locale.ROOT, "the rotary embedding of layer %d", layer));
      }
    }
    if (rotation != null) {
      rotary(prefix, rotation);
    }
  }

  /** {@code llama_ftype} of llama.h. */
  private int fileType() {
    return switch (type) {
      case F32 -> 0;
      case F16 -> 1;
      case Q8_0 -> 7;
      case BF16 -> 32;
      default -> throw new IllegalArgumentException(type + " is not written");
    };
  }

  private void windows(String prefix) {
    int window = widestWindow();
    // llama.cpp asks for the key in Phi-3's files alone, where 0 says that there is no window.
    if (prefix.equals("phi3.")) {
      writer.number(prefix + "attention.sliding_window", window);
    } else if (window > 0 && window < config.maxPositionEmbeddings()) {
      throw unsupported("attention windows in a file of this architecture");
    }
  }

  private void rotary(String prefix, RopeParameters rope) {
    writer.real(prefix + "rope.freq_base", rope.theta());
    writer.number(prefix + "rope.dimension_count", rope.rotated(config.headDim()));
    switch (rope.scaling()) {
      case RopeParameters.Default none -> {}
      case RopeParameters.Llama3 factors -> ropeFactors(rope.theta(), factors);
      case RopeParameters.Linear linear -> {
        writer.string(prefix + "rope.scaling.type", "linear");
        writer.real(prefix + "rope.scaling.factor", linear.factor());
      }
      case RopeParameters.Yarn yarn -> {
        if (yarn.betaFast() != 32
            || yarn.betaSlow() != 1
            || !yarn.truncate()
            || Math.abs(yarn.attentionFactor() - 0.1 * Math.log(yarn.factor()) - 1) > 1e-6) {
          throw unsupported("YaRN with other factors than its own");
        }
        writer.string(prefix + "rope.scaling.type", "yarn");
        writer.real(prefix + "rope.scaling.factor", yarn.factor());
        writer.number(prefix + "rope.scaling.original_context_length", yarn.originalPositions());
      }
      case RopeParameters.Dynamic dynamic -> throw unsupported("dynamic scaling of the context");
      case RopeParameters.LongRope longRope -> throw unsupported("LongRoPE");
    }
  }

  /** Llama 3's scaling, as one factor for each frequency. */
  private void ropeFactors(double theta, RopeParameters.Llama3 scaling) {
    int width = config.headDim();
    float[] factors = new float[width / 2];
    for (int i = 0; i < factors.length; i++) {
      double wavelength = 2 * Math.PI * Math.pow(theta, 2.0 * i / width);
      double smooth =
          Math.clamp(
              (scaling.originalPositions() / wavelength - scaling.lowFreqFactor())
                  / (scaling.highFreqFactor() - scaling.lowFreqFactor()),
              0.0,
              1.0);
      factors[i] = (float) (1 / ((1 - smooth) / scaling.factor() + smooth));
    }
    writer.tensor(
        new GgufWriter.Tensor(
            GgufNames.ROPE_FACTORS,
            GgufType.F32,
            List.of((long) factors.length),
            target -> {
              try (Arena arena = Arena.ofConfined()) {
                OutputTensor.write(arena.allocateFrom(ValueLayout.JAVA_FLOAT, factors), target);
              }
            }));
  }

  private BadInputException unsupported(String what) {
    return new BadInputException(
        String.format(
            Locale.ROOT,
            "%s: %s cannot be written as GGUF; use the folder of Hugging Face's layout",
            model.configName(),
            what));
  }

  private void tensors() {
    Architecture architecture = config.architecture();
    tensor(GgufNames.EMBEDDING, architecture.embedding(), 0);
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      for (TensorSpec spec : architecture.layerTensors(config, layer)) {
        tensor(
            GgufNames.of(layer, spec),
            architecture.tensorName(layer, spec),
            architecture.ggufInterleavedHeads(config, spec));
      }
    }
    tensor(GgufNames.FINAL_NORM, architecture.finalNorm(), 0);
    if (!config.tieWordEmbeddings()) {
      tensor(GgufNames.HEAD, architecture.head(), 0);
    }
  }

  private void tensor(String name, String source, int interleavedHeads) {
    List<Long> shape = model.file(source).info(source).shape();
    GgufType written = typeOf(shape);
    writer.tensor(
        new GgufWriter.Tensor(
            name,
            written,
            shape,
            target -> {
              HostTensor tensor = model.tensor(source);
              convert(tensor, written, interleavedHeads, target);
              model.giveUp(source);
            }));
  }

  /** Vectors are F32; rows that do not fill blocks are F16. */
  private GgufType typeOf(List<Long> shape) {
    if (shape.size() < 2) {
      return GgufType.F32;
    }
    return shape.getLast() % type.blockElements() == 0 ? type : GgufType.F16;
  }

  private void convert(HostTensor tensor, GgufType to, int heads, FileChannel target)
      throws IOException {
    boolean vector = tensor.shape().size() < 2;
    // The elements of a vector are rows where their order changes.
    int columns =
        Math.toIntExact(
            vector && heads == 0 ? tensor.elements() : vector ? 1 : tensor.shape().getLast());
    long rows = tensor.elements() / columns;
    long rowBytes = (long) columns / to.blockElements() * to.blockBytes();
    long most = Math.clamp(BUFFER / rowBytes, 1, rows);
    float[] values = new float[columns];
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment buffer = arena.allocate(most * rowBytes, Float.BYTES);
      for (long begin = 0; begin < rows; begin += most) {
        long count = Math.min(most, rows - begin);
        for (long i = 0; i < count; i++) {
          read(tensor, source(begin + i, rows, heads) * columns, values);
          if (!to.write(values, buffer.asSlice(i * rowBytes, rowBytes))) {
            throw new BadInputException(
                String.format(
                    Locale.ROOT,
                    "%s: tensor '%s' has values that %s cannot hold; choose bf16 or f32",
                    model.directory(),
                    tensor.name(),
                    to));
          }
        }
        OutputTensor.write(buffer.asSlice(0, count * rowBytes), target);
      }
    }
  }

  /**
   * The row of the checkpoint that a file has as this row; see {@link
   * Architecture#ggufInterleavedHeads}.
   */
  private static long source(long row, long rows, int heads) {
    if (heads == 0) {
      return row;
    }
    long width = rows / heads;
    long inHead = row % width;
    return row - inHead + inHead % 2 * (width / 2) + inHead / 2;
  }

  private static void read(HostTensor tensor, long begin, float[] values) {
    MemorySegment data = tensor.data();
    for (int i = 0; i < values.length; i++) {
      values[i] =
          switch (tensor.dtype()) {
            case F32 -> data.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, begin + i);
            case F16 ->
                Float.float16ToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, begin + i));
            case BF16 ->
                DType.bf16ToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, begin + i));
          };
    }
  }
}
