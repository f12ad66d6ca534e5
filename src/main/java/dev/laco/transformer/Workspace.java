package dev.laco.transformer;

import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.LatentAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.LinearAttention;
import dev.laco.model.Mixture;
import dev.laco.model.ModelConfig;
import dev.laco.model.ShortConvolution;
import dev.laco.model.TokenMixer;
import java.util.Objects;
import java.util.function.LongFunction;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** The device buffers of a forward pass over batches of at most {@code maxTokens} tokens. */
public final class Workspace implements AutoCloseable {
  private final TensorArena arena;
  private final Buffers full;
  private Buffers current;

  /** Allocates buffers for batches of up to {@code maxTokens} tokens. */
  public Workspace(DeviceMemory backend, ModelConfig config, long maxTokens) {
    this(backend, config, maxTokens, false);
  }

  /** Buffers that keep every result of a layer, for its gradient. */
  static Workspace keeping(DeviceMemory backend, ModelConfig config, long maxTokens) {
    return new Workspace(backend, config, maxTokens, true);
  }

  private Workspace(DeviceMemory backend, ModelConfig config, long maxTokens, boolean keeps) {
    arena = backend.arena();
    long queries = (long) config.numAttentionHeads() * config.headDim();
    long keys = (long) config.numKeyValueHeads() * config.headDim();
    full =
        new Buffers(
            arena.allocate(DType.F32, maxTokens, config.hiddenSize()),
            arena.allocate(DType.F32, maxTokens, queries),
            arena.allocate(DType.F32, maxTokens, keys),
            arena.allocate(DType.F32, maxTokens, keys),
            arena.allocate(DType.F32, maxTokens, queries),
            arena.allocate(DType.F32, maxTokens, config.widestChannels()),
            arena.allocate(DType.F32, maxTokens, config.widestChannels()),
            config.headsInterleaved()
                ? arena.allocate(DType.F32, maxTokens, queries + 2 * keys)
                : null,
            keeps ? null : arena.allocate(DType.BF16, maxTokens, widest(config)),
            config.mixture() == null ? null : Experts.of(arena, config, maxTokens),
            config.latentAttention() == null ? null : Latents.of(arena, config, maxTokens, keeps),
            config.gatedHeads() ? Gates.of(arena, config, maxTokens, keeps) : null,
            config.linearAttention() == null ? null : Linear.of(arena, config, maxTokens, keeps),
            Convolution.of(arena, config, maxTokens, keeps),
            keeps ? Kept.of(arena, config, maxTokens) : null);
    current = full;
  }

  /** The most columns of what projections multiply. */
  private static long widest(ModelConfig config) {
    return Math.max(config.hiddenSize(), config.widestChannels());
  }

  /** Bytes that the buffers of {@code maxTokens} tokens need. */
  public static long bytes(ModelConfig config, long maxTokens) {
    return maxTokens
            * (columns(config) * DType.F32.byteSize() + widest(config) * DType.BF16.byteSize())
        + Linear.weightBytes(config)
        + Convolution.weightBytes(config);
  }

  /** Columns of the buffers in f32. */
  private static long columns(ModelConfig config) {
    long heads = 2L * config.numAttentionHeads() + 2L * config.numKeyValueHeads();
    long columns = config.hiddenSize() + heads * config.headDim() + 2L * config.widestChannels();
    if (config.headsInterleaved()) {
      columns += (config.numAttentionHeads() + 2L * config.numKeyValueHeads()) * config.headDim();
    }
    if (config.mixture() != null) {
      columns += Experts.columns(config);
    }
    if (config.latentAttention() != null) {
      columns += Latents.columns(config);
    }
    if (config.gatedHeads()) {
      columns += Gates.columns(config);
    }
    if (config.linearAttention() != null) {
      columns += Linear.columns(config);
    }
    return columns + Convolution.columns(config);
  }

  /** Bytes of buffers that {@link #keeping keep} every result of a layer. */
  static long keepingBytes(ModelConfig config, long maxTokens) {
    return maxTokens
            * ((columns(config)
                        + Kept.columns(config)
                        + Latents.keptColumns(config)
                        + Gates.keptColumns(config)
                        + Linear.keptColumns(config)
                        + Convolution.keptColumns(config))
                    * DType.F32.byteSize()
                + Kept.roundedColumns(config) * DType.BF16.byteSize())
        + Linear.weightBytes(config)
        + Convolution.weightBytes(config);
  }

  /** The first {@code tokens} rows of every buffer. */
  public Buffers forTokens(long tokens) {
    if (current.tokens() != tokens) {
      current = full.rows(tokens);
    }
    return current;
  }

  @Override
  public void close() {
    arena.close();
  }

  /**
   * The buffers of a mixture of experts.
   *
   * @param logits of the router, {@code [T, E]}
   * @param sharedLogits of the shared expert's router, {@code [T, 1]}
   * @param input of one expert, {@code [T, d]}
   * @param output of one expert, {@code [T, d]}
   * @param joined gate and up of one expert, {@code [T, 2 k]}; null where they are no {@link
   *     LayerRole#GATE_UP_TRANSPOSED one matrix}
   */
  record Experts(
      Mixture mixture,
      Tensor logits,
      Tensor sharedLogits,
      Tensor input,
      Tensor output,
      @Nullable Tensor joined) {
    private static Experts of(TensorArena arena, ModelConfig config, long tokens) {
      LongFunction<Tensor> allocate = columns -> arena.allocate(DType.F32, tokens, columns);
      Mixture mixture = Objects.requireNonNull(config.mixture());
      return new Experts(
          mixture,
          allocate.apply(mixture.experts()),
          allocate.apply(1),
          allocate.apply(config.hiddenSize()),
          allocate.apply(config.hiddenSize()),
          config.expertsTransposed() ? allocate.apply(2L * mixture.width()) : null);
    }

    private static long columns(ModelConfig config) {
      Mixture mixture = Objects.requireNonNull(config.mixture());
      long joined = config.expertsTransposed() ? 2L * mixture.width() : 0;
      return mixture.experts() + 1 + 2L * config.hiddenSize() + joined;
    }

    /** Gate and up of the first {@code tokens} tokens of an expert whose matrix joins the two. */
    Tensor gateUp(long tokens) {
      return Objects.requireNonNull(joined).slice(0, tokens);
    }

    private Experts rows(long tokens) {
      return new Experts(
          mixture,
          logits.slice(0, tokens),
          sharedLogits.slice(0, tokens),
          input.slice(0, tokens),
          output.slice(0, tokens),
          joined == null ? null : joined.slice(0, tokens));
    }
  }

  /**
   * The buffers of attention with latent vectors.
   *
   * @param query the latent vectors of queries, {@code [T, queryRank]}; null where they have none
   * @param normedQuery the same behind its norm; {@code query} where results are not kept
   * @param keyValue the latent vectors of keys and values, {@code [T, rank]}
   * @param normedKeyValue the same behind its norm
   * @param rotatedKey the rotated elements of keys, {@code [T, rotated]}
   * @param rotatedHeads the rotated elements of queries, {@code [T, heads * rotated]}
   * @param keysAndValues other elements of keys, and values, {@code [T, heads * (unrotated +
   *     value)]}
   * @param attended the outputs of heads, {@code [T, heads * value]}; null where they are as wide
   *     as queries
   */
  record Latents(
      @Nullable Tensor query,
      @Nullable Tensor normedQuery,
      Tensor keyValue,
      Tensor normedKeyValue,
      Tensor rotatedKey,
      Tensor rotatedHeads,
      Tensor keysAndValues,
      @Nullable Tensor attended) {
    private static Latents of(TensorArena arena, ModelConfig config, long tokens, boolean keeps) {
      LongFunction<Tensor> allocate = columns -> arena.allocate(DType.F32, tokens, columns);
      LatentAttention sizes = Objects.requireNonNull(config.latentAttention());
      long heads = config.numAttentionHeads();
      Tensor query = sizes.queryRank() == 0 ? null : allocate.apply(sizes.queryRank());
      Tensor keyValue = allocate.apply(sizes.rank());
      return new Latents(
          query,
          query == null || !keeps ? query : allocate.apply(sizes.queryRank()),
          keyValue,
          keeps ? allocate.apply(sizes.rank()) : keyValue,
          allocate.apply(sizes.rotated()),
          allocate.apply(heads * sizes.rotated()),
          allocate.apply(heads * (sizes.unrotated() + sizes.value())),
          sizes.hasNarrowValues()
              ? allocate.apply(config.attendedWidth(TokenMixer.SOFTMAX))
              : null);
    }

    private static long columns(ModelConfig config) {
      LatentAttention sizes = Objects.requireNonNull(config.latentAttention());
      long head = (long) sizes.rotated() + sizes.unrotated() + sizes.value();
      long attended = sizes.hasNarrowValues() ? config.attendedWidth(TokenMixer.SOFTMAX) : 0;
      return sizes.queryRank()
          + sizes.rank()
          + sizes.rotated()
          + config.numAttentionHeads() * head
          + attended;
    }

    /** Columns of those buffers that only results that are kept need. */
    private static long keptColumns(ModelConfig config) {
      LatentAttention sizes = config.latentAttention();
      return sizes == null ? 0 : (long) sizes.queryRank() + sizes.rank();
    }

    private Latents rows(long tokens) {
      return new Latents(
          query == null ? null : query.slice(0, tokens),
          normedQuery == null ? null : normedQuery.slice(0, tokens),
          keyValue.slice(0, tokens),
          normedKeyValue.slice(0, tokens),
          rotatedKey.slice(0, tokens),
          rotatedHeads.slice(0, tokens),
          keysAndValues.slice(0, tokens),
          attended == null ? null : attended.slice(0, tokens));
    }
  }

  /**
   * The buffers of heads with gates.
   *
   * @param projected queries and gates, head by head, {@code [T, heads * 2 * headDim]}
   * @param gate {@code [T, heads * headDim]}
   * @param attended the outputs of heads times their gates, {@code [T, heads * headDim]}; null
   *     where they take the place of the outputs
   */
  record Gates(Tensor projected, Tensor gate, @Nullable Tensor attended) {
    private static Gates of(TensorArena arena, ModelConfig config, long tokens, boolean keeps) {
      long width = Kept.queries(config);
      return new Gates(
          arena.allocate(DType.F32, tokens, 2 * width),
          arena.allocate(DType.F32, tokens, width),
          keeps ? arena.allocate(DType.F32, tokens, width) : null);
    }

    private static long columns(ModelConfig config) {
      return 3 * Kept.queries(config);
    }

    /** Columns of those buffers that only results that are kept need. */
    private static long keptColumns(ModelConfig config) {
      return config.gatedHeads() ? Kept.queries(config) : 0;
    }

    private Gates rows(long tokens) {
      return new Gates(
          projected.slice(0, tokens),
          gate.slice(0, tokens),
          attended == null ? null : attended.slice(0, tokens));
    }
  }

  /**
   * The buffers of linear attention.
   *
   * @param projected the input of the convolution, {@code [T, n]}
   * @param convolved its output, {@code [T, n]}
   * @param heads queries, keys and values, {@code [T, n]}; {@code convolved} where results are not
   *     kept
   * @param rate {@code [T, valueHeads]}
   * @param decay {@code [T, valueHeads]}
   * @param out the outputs of the delta rule, {@code [T, valueHeads * value]}
   * @param errors what its gradient needs, of the same shape; null where results are not kept
   * @param normed the outputs behind their norm; {@code out} where results are not kept
   * @param gate of the outputs, {@code [T, valueHeads * value]}
   * @param attended the outputs times their gates; {@code out} where results are not kept
   * @param convolution weights of the layer in f32, {@code [n, kernel]}
   * @param logDecay likewise, {@code [1, valueHeads]}
   * @param decayBias likewise, {@code [1, valueHeads]}
   * @param fused the outputs of two projections in front of all; null where each result has one of
   *     its own
   */
  record Linear(
      Tensor projected,
      Tensor convolved,
      Tensor heads,
      Tensor rate,
      Tensor decay,
      Tensor out,
      @Nullable Tensor errors,
      Tensor normed,
      Tensor gate,
      DecoderLayer.Attended attended,
      Tensor convolution,
      Tensor logDecay,
      Tensor decayBias,
      @Nullable LinearFused fused) {
    private static Linear of(TensorArena arena, ModelConfig config, long tokens, boolean keeps) {
      LinearAttention sizes = Objects.requireNonNull(config.linearAttention());
      LongFunction<Tensor> allocate = columns -> arena.allocate(DType.F32, tokens, columns);
      Tensor convolved = allocate.apply(sizes.heads());
      Tensor out = allocate.apply(sizes.values());
      return new Linear(
          allocate.apply(sizes.heads()),
          convolved,
          keeps ? allocate.apply(sizes.heads()) : convolved,
          allocate.apply(sizes.valueHeads()),
          allocate.apply(sizes.valueHeads()),
          out,
          keeps ? allocate.apply(sizes.values()) : null,
          keeps ? allocate.apply(sizes.values()) : out,
          allocate.apply(sizes.values()),
          new DecoderLayer.Attended(keeps ? allocate.apply(sizes.values()) : out),
          arena.allocate(DType.F32, sizes.heads(), sizes.kernel()),
          arena.allocate(DType.F32, 1, sizes.valueHeads()),
          arena.allocate(DType.F32, 1, sizes.valueHeads()),
          config.linearHeadsByKey() ? LinearFused.of(arena, sizes, tokens) : null);
    }

    private static long columns(ModelConfig config) {
      LinearAttention sizes = Objects.requireNonNull(config.linearAttention());
      return 2 * sizes.heads()
          + 2L * sizes.valueHeads()
          + 2 * sizes.values()
          + LinearFused.columns(config, sizes);
    }

    /** Columns of those buffers that only results that are kept need. */
    private static long keptColumns(ModelConfig config) {
      LinearAttention sizes = config.linearAttention();
      return sizes == null ? 0 : sizes.heads() + 3 * sizes.values();
    }

    /** Bytes of weights in f32. */
    private static long weightBytes(ModelConfig config) {
      LinearAttention sizes = config.linearAttention();
      return sizes == null
          ? 0
          : (sizes.heads() * sizes.kernel() + 2L * sizes.valueHeads()) * DType.F32.byteSize();
    }

    private Linear rows(long tokens) {
      return new Linear(
          projected.slice(0, tokens),
          convolved.slice(0, tokens),
          heads.slice(0, tokens),
          rate.slice(0, tokens),
          decay.slice(0, tokens),
          out.slice(0, tokens),
          errors == null ? null : errors.slice(0, tokens),
          normed.slice(0, tokens),
          gate.slice(0, tokens),
          new DecoderLayer.Attended(attended.heads().slice(0, tokens)),
          convolution,
          logDecay,
          decayBias,
          fused == null ? null : fused.rows(tokens));
    }
  }

  /** The outputs of the projections of models whose {@link ModelConfig#linearHeadsByKey}. */
  static final class LinearFused {
    /** Queries, keys, values and gates of each key head, {@code [T, n + valueHeads * value]}. */
    final Tensor headsGate;

    /** Rates and decays of each key head, {@code [T, 2 * valueHeads]}. */
    final Tensor rateDecay;

    private final LinearAttention sizes;
    private @Nullable LinearRows places;

    private LinearFused(Tensor headsGate, Tensor rateDecay, LinearAttention sizes) {
      this.headsGate = headsGate;
      this.rateDecay = rateDecay;
      this.sizes = sizes;
    }

    private static LinearFused of(TensorArena arena, LinearAttention sizes, long tokens) {
      return new LinearFused(
          arena.allocate(DType.F32, tokens, sizes.heads() + sizes.values()),
          arena.allocate(DType.F32, tokens, 2L * sizes.valueHeads()),
          sizes);
    }

    private static long columns(ModelConfig config, LinearAttention sizes) {
      return config.linearHeadsByKey()
          ? sizes.heads() + sizes.values() + 2L * sizes.valueHeads()
          : 0;
    }

    /** Where in the outputs each result stands: the same in all layers, so made once. */
    LinearRows places() {
      if (places == null) {
        places = new LinearRows(sizes, headsGate.rows());
      }
      return places;
    }

    private LinearFused rows(long tokens) {
      return new LinearFused(headsGate.slice(0, tokens), rateDecay.slice(0, tokens), sizes);
    }
  }

  /**
   * Gradients by results of linear attention.
   *
   * @param headsGate those by queries, keys and values of all tokens, and where {@link
   *     ModelConfig#linearHeadsByKey} behind them those by gates, {@code [T, n]} or {@code [T, n +
   *     valueHeads * value]} elements
   * @param rateDecay those by rates of all tokens, and behind them those by decays, {@code [T, 2 *
   *     valueHeads]} elements
   * @param logDecay {@code [T, valueHeads]}
   */
  record LinearScratch(LinearAttention sizes, Tensor headsGate, Tensor rateDecay, Tensor logDecay) {
    static LinearScratch of(
        TensorArena arena, ModelConfig config, LinearAttention sizes, long tokens) {
      return new LinearScratch(
          sizes,
          arena.allocate(DType.F32, tokens, width(config, sizes)),
          arena.allocate(DType.F32, tokens, 2L * sizes.valueHeads()),
          arena.allocate(DType.F32, tokens, sizes.valueHeads()));
    }

    /** Columns of {@code headsGate}. */
    static long width(ModelConfig config, LinearAttention sizes) {
      return sizes.heads() + (config.linearHeadsByKey() ? sizes.values() : 0);
    }

    static long columns(ModelConfig config) {
      LinearAttention sizes = config.linearAttention();
      return sizes == null ? 0 : width(config, sizes) + 3L * sizes.valueHeads();
    }

    LinearScratch rows(long tokens) {
      return new LinearScratch(
          sizes, headsGate.slice(0, tokens), rateDecay.slice(0, tokens), logDecay.slice(0, tokens));
    }

    /** Those by queries, keys and values, {@code [T, n]}. */
    Tensor heads() {
      return part(headsGate, 0, sizes.heads());
    }

    /**
     * Those by gates where {@link ModelConfig#linearHeadsByKey}, {@code [T, valueHeads * value]}.
     */
    Tensor gate() {
      return part(headsGate, sizes.heads(), sizes.values());
    }

    /** Those by rates, {@code [T, valueHeads]}. */
    Tensor rate() {
      return part(rateDecay, 0, sizes.valueHeads());
    }

    /** Those by decays, {@code [T, valueHeads]}. */
    Tensor decay() {
      return part(rateDecay, sizes.valueHeads(), sizes.valueHeads());
    }

    /** So many columns of all tokens, behind the memory of others. */
    private static Tensor part(Tensor memory, long before, long columns) {
      long tokens = memory.rows();
      return memory
          .reshape(memory.elements(), 1)
          .slice(before * tokens, (before + columns) * tokens)
          .reshape(tokens, columns);
    }
  }

  /**
   * The buffers of layers with a {@link ShortConvolution}, {@code [T, n]} each but for the last.
   *
   * @param gate factors {@code b} on the input
   * @param outputGate factors {@code c} on the output
   * @param input {@code x}
   * @param gated {@code b * x}; {@code input} where results are not kept
   * @param convolved the output of the convolution
   * @param attended the output times its factors; {@code convolved} where results are not kept
   * @param kernel weights of the convolution of the layer in f32, {@code [n, kernel]}
   */
  record Convolution(
      Tensor gate,
      Tensor outputGate,
      Tensor input,
      Tensor gated,
      Tensor convolved,
      DecoderLayer.Attended attended,
      Tensor kernel) {
    private static @Nullable Convolution of(
        TensorArena arena, ModelConfig config, long tokens, boolean keeps) {
      ShortConvolution sizes = config.convolution();
      if (sizes == null) {
        return null;
      }
      Supplier<Tensor> allocate = () -> arena.allocate(DType.F32, tokens, sizes.width());
      Tensor input = allocate.get();
      Tensor convolved = allocate.get();
      return new Convolution(
          allocate.get(),
          allocate.get(),
          input,
          keeps ? allocate.get() : input,
          convolved,
          new DecoderLayer.Attended(keeps ? allocate.get() : convolved),
          arena.allocate(DType.F32, sizes.width(), sizes.kernel()));
    }

    private static long columns(ModelConfig config) {
      ShortConvolution sizes = config.convolution();
      return sizes == null ? 0 : 4L * sizes.width();
    }

    /** Columns of those buffers that only results that are kept need. */
    private static long keptColumns(ModelConfig config) {
      ShortConvolution sizes = config.convolution();
      return sizes == null ? 0 : 2L * sizes.width();
    }

    /** Bytes of weights in f32. */
    private static long weightBytes(ModelConfig config) {
      ShortConvolution sizes = config.convolution();
      return sizes == null ? 0 : (long) sizes.width() * sizes.kernel() * DType.F32.byteSize();
    }

    private Convolution rows(long tokens) {
      return new Convolution(
          gate.slice(0, tokens),
          outputGate.slice(0, tokens),
          input.slice(0, tokens),
          gated.slice(0, tokens),
          convolved.slice(0, tokens),
          new DecoderLayer.Attended(attended.heads().slice(0, tokens)),
          kernel);
    }
  }

  /**
   * Buffers for results that a forward pass overwrites, and that the gradient of the layer needs.
   *
   * @param query before norm and rotation of heads, {@code [T, heads * headDim]}; null where heads
   *     have no norm
   * @param key likewise, {@code [T, keyValueHeads * headDim]}
   * @param logSums of attention, {@code [T, heads]}
   * @param attentionProjected the output of attention's projection, {@code [T, d]}
   * @param attentionOutput what attention adds to the residual stream, {@code [T, d]}; null where
   *     no norm stands between the two
   * @param feedForwardInput the input of the feed-forward part, {@code [T, d]}
   * @param feedForwardProjected the output of the down projection, {@code [T, d]}
   * @param feedForwardOutput what the feed-forward part adds to the residual stream, {@code [T,
   *     d]}; null where no norm stands between the two
   * @param channels of the feed-forward part, {@code [T, k]}
   * @param roundedInput the input of attention in bf16, {@code [T, d]}
   * @param roundedMiddle the input of the feed-forward part in bf16, {@code [T, d]}
   * @param roundedChannels channels in bf16, {@code [T, k]}
   */
  private record Kept(
      @Nullable Tensor query,
      @Nullable Tensor key,
      Tensor logSums,
      Tensor attentionProjected,
      @Nullable Tensor attentionOutput,
      Tensor feedForwardInput,
      Tensor feedForwardProjected,
      @Nullable Tensor feedForwardOutput,
      Tensor channels,
      Tensor roundedInput,
      Tensor roundedMiddle,
      Tensor roundedChannels) {
    private static Kept of(TensorArena arena, ModelConfig config, long tokens) {
      LongFunction<Tensor> allocate = columns -> arena.allocate(DType.F32, tokens, columns);
      boolean norms = config.queryKeyNorm();
      return new Kept(
          norms ? allocate.apply(queries(config)) : null,
          norms ? allocate.apply(keys(config)) : null,
          allocate.apply(config.numAttentionHeads()),
          allocate.apply(config.hiddenSize()),
          config.normsOutputs() ? allocate.apply(config.hiddenSize()) : null,
          allocate.apply(config.hiddenSize()),
          allocate.apply(config.hiddenSize()),
          config.normsOutputs() ? allocate.apply(config.hiddenSize()) : null,
          allocate.apply(config.widestChannels()),
          arena.allocate(DType.BF16, tokens, config.hiddenSize()),
          arena.allocate(DType.BF16, tokens, config.hiddenSize()),
          arena.allocate(DType.BF16, tokens, config.widestChannels()));
    }

    private static long queries(ModelConfig config) {
      return (long) config.numAttentionHeads() * config.headDim();
    }

    private static long keys(ModelConfig config) {
      return (long) config.numKeyValueHeads() * config.headDim();
    }

    private static long columns(ModelConfig config) {
      return (config.queryKeyNorm() ? queries(config) + keys(config) : 0)
          + config.numAttentionHeads()
          + (config.normsOutputs() ? 5L : 3L) * config.hiddenSize()
          + config.widestChannels();
    }

    private static long roundedColumns(ModelConfig config) {
      return 2L * config.hiddenSize() + config.widestChannels();
    }

    private Kept rows(long tokens) {
      return new Kept(
          query == null ? null : query.slice(0, tokens),
          key == null ? null : key.slice(0, tokens),
          logSums.slice(0, tokens),
          attentionProjected.slice(0, tokens),
          attentionOutput == null ? null : attentionOutput.slice(0, tokens),
          feedForwardInput.slice(0, tokens),
          feedForwardProjected.slice(0, tokens),
          feedForwardOutput == null ? null : feedForwardOutput.slice(0, tokens),
          channels.slice(0, tokens),
          roundedInput.slice(0, tokens),
          roundedMiddle.slice(0, tokens),
          roundedChannels.slice(0, tokens));
    }
  }

  /**
   * The buffers that the steps of a {@link DecoderLayer} fill, one row per token. Only the steps
   * see the memory itself; everybody else is given what a step has filled, under the name of what
   * it holds.
   */
  public static final class Buffers {
    final Tensor hidden;
    final Tensor query;
    final Tensor key;
    final Tensor value;
    final Tensor heads;
    final Tensor gate;
    final Tensor up;
    private final @Nullable Tensor queryKeyValue;

    /** Memory for what projections multiply, in bf16, where the results of a layer are not kept. */
    private final @Nullable Tensor rounded;

    private final @Nullable Experts experts;
    private final @Nullable Latents latents;
    private final @Nullable Gates gates;
    private final @Nullable Linear linear;
    private final @Nullable Convolution convolution;
    private final @Nullable Kept kept;
    private @Nullable HeadRows headRows;
    final DecoderLayer.Normed normed;
    final DecoderLayer.Attended attended;

    private Buffers(
        Tensor hidden,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor heads,
        Tensor gate,
        Tensor up,
        @Nullable Tensor queryKeyValue,
        @Nullable Tensor rounded,
        @Nullable Experts experts,
        @Nullable Latents latents,
        @Nullable Gates gates,
        @Nullable Linear linear,
        @Nullable Convolution convolution,
        @Nullable Kept kept) {
      this.hidden = hidden;
      this.query = query;
      this.key = key;
      this.value = value;
      this.heads = heads;
      this.gate = gate;
      this.up = up;
      this.queryKeyValue = queryKeyValue;
      this.rounded = rounded;
      this.experts = experts;
      this.latents = latents;
      this.gates = gates;
      this.linear = linear;
      this.convolution = convolution;
      this.kept = kept;
      normed = new DecoderLayer.Normed(hidden);
      Tensor narrow = latents == null ? null : latents.attended;
      Tensor gated = gates == null ? null : gates.attended;
      attended =
          new DecoderLayer.Attended(
              Objects.requireNonNullElse(narrow, Objects.requireNonNullElse(gated, heads)));
    }

    private long tokens() {
      return hidden.rows();
    }

    /** Memory for queries before norm and rotation. */
    Tensor queryProjected() {
      return kept == null || kept.query == null ? query : kept.query;
    }

    /** Memory for keys before norm and rotation. */
    Tensor keyProjected() {
      return kept == null || kept.key == null ? key : kept.key;
    }

    /**
     * Memory for the keys that attention sees; beside {@link #keyProjected} if they have 16 bits.
     */
    Tensor keys(DType type) {
      return type == DType.F32 ? key : halves(type).slice(0, tokens());
    }

    /** Memory for the values that attention sees. */
    Tensor values(DType type) {
      return type == DType.F32 ? value : halves(type).slice(tokens(), 2 * tokens());
    }

    /** The memory of values in f32, which has room for keys and values of 16 bits. */
    private Tensor halves(DType type) {
      return value.view(type, 2 * tokens(), value.columns());
    }

    /** Memory for the log-sums of attention, where they are kept. */
    @Nullable Tensor logSums() {
      return kept == null ? null : kept.logSums;
    }

    /** Memory for the output of attention's projection, before the norm behind it. */
    Tensor attentionProjected() {
      return kept == null ? hidden : kept.attentionProjected;
    }

    /** Memory for what attention adds to the residual stream, behind a norm. */
    Tensor attentionOutput() {
      return kept == null || kept.attentionOutput == null ? hidden : kept.attentionOutput;
    }

    /**
     * Memory for the input of attention, behind a norm.
     *
     * @param type f32 or bf16
     */
    Tensor attentionInput(DType type) {
      if (type == DType.F32) {
        return hidden;
      }
      return kept == null ? rounded(hidden.columns()) : kept.roundedInput;
    }

    /** Memory for the input of the feed-forward part likewise. */
    Tensor feedForwardInput(DType type) {
      if (type == DType.F32) {
        return kept == null ? hidden : kept.feedForwardInput;
      }
      return kept == null ? rounded(hidden.columns()) : kept.roundedMiddle;
    }

    /** Memory for the channels of the feed-forward part likewise. */
    Tensor channels(DType type) {
      if (type == DType.F32) {
        return kept == null ? gate : kept.channels;
      }
      return kept == null ? rounded(gate.columns()) : kept.roundedChannels;
    }

    private Tensor rounded(long columns) {
      return narrow(Objects.requireNonNull(rounded), tokens(), columns);
    }

    /** Memory for the output of the down projection, before the norm behind it. */
    Tensor feedForwardProjected() {
      return kept == null ? hidden : kept.feedForwardProjected;
    }

    /** Memory for what the feed-forward part adds to the residual stream, behind a norm. */
    Tensor feedForwardOutput() {
      return kept == null || kept.feedForwardOutput == null ? hidden : kept.feedForwardOutput;
    }

    /** Queries, keys and values of models whose {@link ModelConfig#headsInterleaved}. */
    Tensor queryKeyValue() {
      return Objects.requireNonNull(queryKeyValue);
    }

    /** Where in {@link #queryKeyValue} each head stands: the same in all layers, so made once. */
    HeadRows headRows(ModelConfig config) {
      if (headRows == null) {
        headRows = new HeadRows(config, tokens());
      }
      return headRows;
    }

    /** The buffers of a mixture, which only models with mixtures have. */
    Experts experts() {
      return Objects.requireNonNull(experts);
    }

    /** The buffers of attention with latent vectors, which only models with such have. */
    Latents latents() {
      return Objects.requireNonNull(latents);
    }

    /** The buffers of heads with gates, which only models with such have. */
    Gates gates() {
      return Objects.requireNonNull(gates);
    }

    /** The buffers of linear attention, which only models with such layers have. */
    Linear linear() {
      return Objects.requireNonNull(linear);
    }

    /** The buffers of convolutions, which only models with such layers have. */
    Convolution convolution() {
      return Objects.requireNonNull(convolution);
    }

    /** Memory of {@link #gate} for the first {@code tokens} tokens of an expert. */
    Tensor gate(long tokens, long width) {
      return narrow(gate, tokens, width);
    }

    /** Memory of {@link #up} likewise. */
    Tensor up(long tokens, long width) {
      return narrow(up, tokens, width);
    }

    /** The first {@code rows * columns} elements of a tensor as a matrix of these extents. */
    static Tensor narrow(Tensor memory, long rows, long columns) {
      return memory.reshape(memory.elements(), 1).slice(0, rows * columns).reshape(rows, columns);
    }

    private Buffers rows(long tokens) {
      return new Buffers(
          hidden.slice(0, tokens),
          query.slice(0, tokens),
          key.slice(0, tokens),
          value.slice(0, tokens),
          heads.slice(0, tokens),
          gate.slice(0, tokens),
          up.slice(0, tokens),
          queryKeyValue == null ? null : queryKeyValue.slice(0, tokens),
          rounded == null ? null : rounded.slice(0, tokens),
          experts == null ? null : experts.rows(tokens),
          latents == null ? null : latents.rows(tokens),
          gates == null ? null : gates.rows(tokens),
          linear == null ? null : linear.rows(tokens),
          convolution == null ? null : convolution.rows(tokens),
          kept == null ? null : kept.rows(tokens));
    }
  }
}
