package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.DType;
import dev.laco.model.LatentAttention;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.LinearAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.NormSpec;
import dev.laco.model.TokenMixer;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The gradients of a {@link DecoderLayer}. A layer's forward pass keeps its results; from the
 * gradient by the layer's output those by its input and by its weights are then computed, in the
 * reverse order.
 *
 * <p>There is memory for the results of some layers. Where it has the results of another layer by
 * the time of the backward pass, the forward pass of the layer is run once more, from the layer's
 * input (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
 *
 * <p>{@code T} is the number of tokens of a batch, {@code d} the hidden size, {@code k} the number
 * of feed-forward channels.
 */
public final class DecoderGradient implements AutoCloseable {
  private final Backend backend;
  private final TrainingOps training;
  private final ModelConfig config;
  private final DecoderLayer decoder;
  private final List<Room> rooms;
  private final TensorArena arena;
  private final Gradients full;

  /**
   * The gradients of attention with latent vectors, with the matrix {@code [rotated, heads *
   * rotated]} of ones by which a product adds up the rotated elements of all heads; null where
   * attention has none.
   */
  private final @Nullable Shared latents;

  /** Computes linear attention, and its gradients; null where no layer has it. */
  private final @Nullable LinearHeads linearHeads;

  /** Computes the gradients of convolutions in the place of attention. */
  private final GatedConvolution convolution;

  /** Sums of gradients by the weights of norms that nobody reads. */
  private final Tensor unread;

  /**
   * Memory for the results of a layer.
   *
   * @param middle the hidden states between attention and feed-forward part, {@code [T, d]}
   */
  private record Room(Workspace work, Tensor middle) {}

  private record Shared(LatentHeads heads, LatentAttention sizes, Tensor ones) {
    private static Shared of(
        Backend backend, TensorArena arena, ModelConfig config, LatentAttention sizes) {
      int width = sizes.rotated();
      int all = config.numAttentionHeads() * width;
      float[] values = new float[width * all];
      for (int column = 0; column < all; column++) {
        values[column % width * all + column] = 1;
      }
      Tensor ones = arena.allocate(DType.F32, width, all);
      backend.upload(values, ones);
      return new Shared(new LatentHeads(backend, config, sizes), sizes, ones);
    }

    private static long bytes(ModelConfig config) {
      LatentAttention sizes = config.latentAttention();
      return sizes == null
          ? 0
          : (long) config.numAttentionHeads() * sizes.rotated() * sizes.rotated() * Float.BYTES;
    }
  }

  /**
   * Gradients by results of the forward pass.
   *
   * @param source a copy of the gradient by the layer's output, {@code [T, d]}; memory of experts
   * @param input by the input of projections, {@code [T, d]}
   * @param scratch {@code [T, d]}
   * @param heads by the outputs of attention, {@code [T, heads * headDim]}
   * @param whitened no gradient, but an input of projections times its {@link Whitening}, {@code
   *     [T, d]}
   * @param fused by queries, keys and values, one behind the other, {@code [T, (heads + 2
   *     keyValueHeads) * headDim]} elements
   * @param channels {@code [T, k]}
   * @param rounded the gradient by the output of a projection in bf16, up to {@code [T, k]} or as
   *     wide as {@code fused}
   * @param roundedInput {@code whitened} in bf16
   * @param linear by results of linear attention; null where no layer has it
   */
  private record Gradients(
      Tensor source,
      Tensor input,
      Tensor scratch,
      Tensor heads,
      Tensor whitened,
      Tensor fused,
      Tensor channels,
      Tensor rounded,
      Tensor roundedInput,
      Workspace.@Nullable LinearScratch linear) {
    private Gradients rows(long tokens) {
      return new Gradients(
          source.slice(0, tokens),
          input.slice(0, tokens),
          scratch.slice(0, tokens),
          heads.slice(0, tokens),
          whitened.slice(0, tokens),
          fused.slice(0, tokens),
          channels.slice(0, tokens),
          rounded.slice(0, tokens),
          roundedInput.slice(0, tokens),
          linear == null ? null : linear.rows(tokens));
    }
  }

  /**
   * Allocates buffers for batches of up to {@code maxTokens} tokens.
   *
   * @param layers whose results can be held at the same time
   */
  public DecoderGradient(Backend backend, ModelConfig config, long maxTokens, int layers) {
    this.backend = backend;
    this.training = backend.training();
    this.config = config;
    this.decoder = new DecoderLayer(backend, config, training);
    this.arena = backend.arena();
    this.rooms =
        Stream.generate(
                () ->
                    new Room(
                        Workspace.keeping(backend, config, maxTokens),
                        allocate(maxTokens, config.hiddenSize())))
            .limit(layers)
            .toList();
    LinearAttention linear = config.linearAttention();
    this.full =
        new Gradients(
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, queries(config)),
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, queries(config) + 2 * keys(config)),
            allocate(maxTokens, config.widestChannels()),
            arena.allocate(DType.BF16, maxTokens, widest(config)),
            arena.allocate(DType.BF16, maxTokens, config.hiddenSize()),
            linear == null ? null : Workspace.LinearScratch.of(arena, config, linear, maxTokens));
    this.linearHeads = linear == null ? null : new LinearHeads(backend, config, training, linear);
    this.convolution = new GatedConvolution(backend, training);
    LatentAttention sizes = config.latentAttention();
    this.latents = sizes == null ? null : Shared.of(backend, arena, config, sizes);
    this.unread = allocate(1, largestNorm(config));
  }

  /** The most weights of a norm; queries have one a head in some families. */
  private static long largestNorm(ModelConfig config) {
    LatentAttention sizes = config.latentAttention();
    long latent = sizes == null ? 0 : Math.max(sizes.queryRank(), sizes.rank());
    LinearAttention linear = config.linearAttention();
    long ofHeads = linear == null ? 0 : linear.value();
    return LongStream.of(config.hiddenSize(), queries(config), latent, ofHeads).max().orElseThrow();
  }

  /** The most columns of the output of a projection. */
  private static long widest(ModelConfig config) {
    LinearAttention linear = config.linearAttention();
    return LongStream.of(
            config.hiddenSize(),
            config.widestChannels(),
            queries(config) + 2 * keys(config),
            config.gatedHeads() ? 2 * queries(config) : 0,
            linear == null ? 0 : Workspace.LinearScratch.width(config, linear))
        .max()
        .orElseThrow();
  }

  private Tensor allocate(long rows, long columns) {
    return arena.allocate(DType.F32, rows, columns);
  }

  private static long queries(ModelConfig config) {
    return (long) config.numAttentionHeads() * config.headDim();
  }

  private static long keys(ModelConfig config) {
    return (long) config.numKeyValueHeads() * config.headDim();
  }

  /**
   * Bytes of the buffers for {@code maxTokens} tokens.
   *
   * @param layers whose results can be held at the same time
   */
  public static long bytes(ModelConfig config, long maxTokens, int layers) {
    long columns =
        4L * config.hiddenSize()
            + 2 * queries(config)
            + 2 * keys(config)
            + config.widestChannels()
            + Workspace.LinearScratch.columns(config);
    long middle = maxTokens * config.hiddenSize() * DType.F32.byteSize();
    return layers * (Workspace.keepingBytes(config, maxTokens) + middle)
        + maxTokens * columns * DType.F32.byteSize()
        + maxTokens * (widest(config) + config.hiddenSize()) * DType.BF16.byteSize()
        + largestNorm(config) * DType.F32.byteSize()
        + Shared.bytes(config);
  }

  /**
   * Symmetric matrices {@code [d, d]} by which gradients of weights are multiplied from the right.
   *
   * @param attention for the projections of queries, keys and values
   * @param feedForward for the gate and up projections, and for routers
   */
  public record Whitening(Tensor attention, Tensor feedForward) {}

  /**
   * What the forward pass of a layer over a batch left for the layer's gradient, in the memory that
   * it was given.
   *
   * @param x the layer's input, {@code [T, d]}
   * @param middle the hidden states between attention and feed-forward part, {@code [T, d]}; not
   *     those of parallel layers
   * @param fed the input of the feed-forward part
   * @param channels of the feed-forward part; null where it is a mixture of experts
   */
  public record Results(
      Tensor x,
      LayerAttention attention,
      TokenBatch batch,
      Workspace.Buffers kept,
      DecoderLayer.Normed input,
      DecoderLayer.Attended attended,
      Tensor middle,
      DecoderLayer.Normed fed,
      DecoderLayer.@Nullable Channels channels) {}

  /**
   * Runs a layer over whole sequences and keeps its results.
   *
   * @param room number of the memory for the results, which loses those that it had
   * @param x the layer's input, {@code [T, d]}; it stays as it is, and must until {@link #backward}
   * @param output gets the layer's output, {@code [T, d]}; null where nobody asks for it
   */
  public Results forward(
      int room,
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      TokenBatch batch,
      @Nullable Tensor output) {
    Workspace.Buffers kept = rooms.get(room).work.forTokens(x.rows());
    Tensor middle = rooms.get(room).middle.slice(0, x.rows());
    DecoderLayer.Normed input = decoder.attentionInput(weights, x, kept);
    DecoderLayer.Attended attended = decoder.attend(weights, attention, input, batch, kept, null);
    DecoderLayer.Normed fed;
    if (config.parallel()) {
      fed = decoder.feedForwardInput(weights, x, input, kept);
    } else {
      backend.copy(x, middle);
      fed =
          decoder.addAndNormalise(weights, decoder.project(weights, attended, kept), middle, kept);
    }
    DecoderLayer.Channels channels =
        weights.experts().isEmpty() ? decoder.inputOfDown(weights, fed, kept) : null;
    if (output == null) {
      if (channels != null && config.normsOutputs()) {
        decoder.down(weights, channels, kept);
      }
    } else {
      if (config.parallel()) {
        backend.copy(x, output);
        backend.add(output, decoder.project(weights, attended, kept).states());
      } else {
        backend.copy(middle, output);
      }
      if (channels == null) {
        decoder.addExperts(weights, fed, output, kept);
      } else {
        backend.add(output, decoder.contribute(weights, channels, kept).states());
      }
    }
    return new Results(x, attention, batch, kept, input, attended, middle, fed, channels);
  }

  /**
   * Turns the gradient by a layer's output into that by its input, and adds the gradients by its
   * weights.
   *
   * @param results of the forward pass with the same weights, which are lost
   * @param gradient {@code [T, d]}: by the layer's output, becomes that by its input
   * @param whitening by what gradients of weights are multiplied; null for nothing
   * @param sums the gradients by weights in f32, which are added to: by each weight of a norm, and
   *     by those other weights whose gradients are wanted
   */
  public void backward(
      Results results,
      LayerWeights weights,
      Tensor gradient,
      @Nullable Whitening whitening,
      LayerWeights sums) {
    Gradients room = full.rows(results.x.rows());
    new Step(weights, sums, results, room, gradient, whitening).run();
  }

  /**
   * Turns the gradient by a layer's output into that by its input.
   *
   * @param results of the forward pass with the same weights, which are lost
   * @param gradient {@code [T, d]}: by the layer's output, becomes that by its input
   */
  public void backward(Results results, LayerWeights weights, Tensor gradient) {
    Map<LayerRole, Tensor> norms = new EnumMap<>(LayerRole.class);
    weights
        .tensors()
        .forEach(
            (role, weight) -> {
              if (role.isNorm()) {
                norms.put(role, unread(weight));
              }
            });
    backward(results, weights, gradient, null, new LayerWeights(norms, List.of()));
  }

  private Tensor unread(Tensor weight) {
    return unread
        .reshape(unread.elements(), 1)
        .slice(0, weight.elements())
        .reshape(weight.rows(), weight.columns());
  }

  /**
   * Turns the gradient by the output of the final norm into that by its input.
   *
   * @param x the input, {@code [T, d]}
   * @param weight of the norm
   * @param gradient {@code [T, d]}: by the output, becomes that by {@code x}
   */
  public void finalNorm(Tensor x, Tensor weight, Tensor gradient) {
    finalNorm(x, weight, gradient, unread(weight), null);
  }

  /**
   * The same with the gradients by the norm's weights.
   *
   * @param weightSum the gradient by {@code weight} in f32, which is added to
   * @param biasSum likewise; null for none
   */
  public void finalNorm(
      Tensor x, Tensor weight, Tensor gradient, Tensor weightSum, @Nullable Tensor biasSum) {
    norm(x, weight, config.norm(), gradient, weightSum, biasSum, gradient);
  }

  private void norm(
      Tensor x,
      Tensor weight,
      NormSpec spec,
      Tensor gradient,
      Tensor weightSum,
      @Nullable Tensor biasSum,
      Tensor out) {
    if (config.hasLayerNorms()) {
      training.layerNormGradient(x, weight, spec, gradient, weightSum, biasSum, out);
    } else {
      training.rmsNormGradient(x, weight, spec, gradient, weightSum, out);
    }
  }

  /** The gradients of one layer on one batch. */
  private final class Step {
    private final LayerWeights weights;
    private final LayerWeights sums;
    private final Results results;
    private final Workspace.Buffers kept;
    private final Gradients room;
    private final Tensor gradient;
    private final @Nullable Whitening whitening;

    private Step(
        LayerWeights weights,
        LayerWeights sums,
        Results results,
        Gradients room,
        Tensor gradient,
        @Nullable Whitening whitening) {
      this.weights = weights;
      this.sums = sums;
      this.results = results;
      this.kept = results.kept;
      this.room = room;
      this.gradient = gradient;
      this.whitening = whitening;
    }

    private void run() {
      if (config.parallel()) {
        parallel();
      } else {
        sequential();
      }
    }

    /** Attention, and then a feed-forward part that has attention's output in its input. */
    private void sequential() {
      if (results.channels == null) {
        Tensor states = results.fed.states();
        new ExpertGradient(backend, training, config, decoder, kept)
            .run(
                weights,
                sums,
                new ExpertGradient.States(
                    states,
                    whitening == null ? null : whitened(states, whitening.feedForward()),
                    gradient,
                    room.input()),
                new ExpertGradient.Scratch(room.scratch(), room.source(), room.channels()));
      } else {
        feedForward(results.channels, gradient);
      }
      addThroughNorm(
          LayerRole.FEED_FORWARD_INPUT_NORM,
          LayerRole.FEED_FORWARD_INPUT_NORM_BIAS,
          results.middle);
      attention(gradient, false);
      addThroughNorm(
          LayerRole.ATTENTION_INPUT_NORM, LayerRole.ATTENTION_INPUT_NORM_BIAS, results.x);
    }

    /** Attention and feed-forward part of the same hidden states. */
    private void parallel() {
      boolean oneNorm = weights.find(LayerRole.FEED_FORWARD_INPUT_NORM) == null;
      backend.copy(gradient, room.source());
      feedForward(Objects.requireNonNull(results.channels), room.source());
      if (!oneNorm) {
        addThroughNorm(
            LayerRole.FEED_FORWARD_INPUT_NORM, LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, results.x);
      }
      attention(room.source(), oneNorm);
      addThroughNorm(
          LayerRole.ATTENTION_INPUT_NORM, LayerRole.ATTENTION_INPUT_NORM_BIAS, results.x);
    }

    /**
     * Writes the gradient by the input of the feed-forward part to {@code room.input}.
     *
     * @param output the gradient by what the part adds to the residual stream
     */
    private void feedForward(DecoderLayer.Channels channels, Tensor output) {
      Tensor norm = weights.find(LayerRole.FEED_FORWARD_OUTPUT_NORM);
      Tensor byProjected = output;
      if (norm != null) {
        norm(
            kept.feedForwardProjected(),
            LayerRole.FEED_FORWARD_OUTPUT_NORM,
            null,
            config.innerNorm(),
            output,
            room.scratch());
        byProjected = room.scratch();
      }
      linear(
          LayerRole.DOWN,
          LayerRole.DOWN_BIAS,
          channels.values(),
          byProjected,
          false,
          room.channels());
      boolean gated = config.isGated();
      training.gatedGradients(
          config.hiddenAct(), kept.gate, gated ? kept.up : null, room.channels());
      Tensor byUp = gated ? kept.up : kept.gate;
      Tensor factor =
          factor(results.fed.states(), whitening == null ? null : whitening.feedForward());
      linear(LayerRole.UP, LayerRole.UP_BIAS, factor, byUp, false, room.input());
      if (gated) {
        linear(LayerRole.GATE, LayerRole.GATE_BIAS, factor, kept.gate, true, room.input());
      }
    }

    /**
     * Writes the gradient by the input of attention to {@code room.input}, or adds it.
     *
     * @param output the gradient by what attention adds to the residual stream
     */
    private void attention(Tensor output, boolean add) {
      Tensor heads = results.attended.heads();
      Tensor byProjected = output;
      if (weights.find(LayerRole.ATTENTION_OUTPUT_NORM) != null) {
        norm(
            kept.attentionProjected(),
            LayerRole.ATTENTION_OUTPUT_NORM,
            null,
            config.innerNorm(),
            output,
            room.scratch());
        byProjected = room.scratch();
      }
      Tensor factor =
          factor(results.input.states(), whitening == null ? null : whitening.attention());
      if (!results.attention.hasSoftmax()) {
        linear(LayerRole.OUTPUT, null, heads, byProjected, false, heads);
        if (results.attention.mixer() == TokenMixer.CONVOLUTION) {
          convolution(heads, factor, add);
        } else {
          linearAttention(Objects.requireNonNull(linearHeads), heads, factor, add);
        }
        return;
      }
      Tensor byAttended = byAttended();
      linear(LayerRole.OUTPUT, LayerRole.OUTPUT_BIAS, heads, byProjected, false, byAttended);
      if (latents != null) {
        latents.heads.widen(byAttended, room.heads());
      }
      if (config.gatedHeads()) {
        // The gradient by the outputs of heads takes the place of what gates made of them.
        backend.copy(kept.heads, heads);
        training.gatedGradients(Activation.SIGMOID, kept.gates().gate(), heads, room.heads());
      }
      long tokens = results.x.rows();
      Tensor elements = room.fused().reshape(room.fused().elements(), 1);
      long queries = tokens * queries(config);
      long keys = tokens * keys(config);
      Tensor byQuery = elements.slice(0, queries).reshape(tokens, queries(config));
      Tensor byKey = elements.slice(queries, queries + keys).reshape(tokens, keys(config));
      Tensor byValue =
          elements.slice(queries + keys, queries + 2 * keys).reshape(tokens, keys(config));
      training.attentionGradient(
          kept.query,
          kept.key,
          kept.value,
          decoder.spec(weights, results.attention),
          results.batch,
          kept.heads,
          Objects.requireNonNull(kept.logSums()),
          config.gatedHeads() ? heads : room.heads(),
          byQuery,
          byKey,
          byValue);
      addSinks();
      if (latents != null) {
        latents(latents, factor, byQuery, byKey, byValue, add);
        return;
      }
      turnBack(LayerRole.QUERY_NORM, kept.queryProjected(), byQuery);
      turnBack(LayerRole.KEY_NORM, kept.keyProjected(), byKey);
      if (config.headsInterleaved()) {
        Tensor fused = kept.queryKeyValue();
        long rows = elements.rows() / config.headDim();
        backend.gather(
            elements.reshape(rows, config.headDim()),
            kept.headRows(config).inverse(),
            fused.reshape(rows, config.headDim()));
        linear(
            LayerRole.QUERY_KEY_VALUE,
            LayerRole.QUERY_KEY_VALUE_BIAS,
            factor,
            fused,
            add,
            room.input());
      } else {
        linear(
            LayerRole.QUERY,
            LayerRole.QUERY_BIAS,
            factor,
            config.gatedHeads() ? withGates(byQuery) : byQuery,
            add,
            room.input());
        linear(LayerRole.KEY, LayerRole.KEY_BIAS, factor, byKey, true, room.input());
        linear(LayerRole.VALUE, LayerRole.VALUE_BIAS, factor, byValue, true, room.input());
      }
    }

    /** The gradient by queries, and behind that of each head the gradient by its gates. */
    private Tensor withGates(Tensor byQuery) {
      Workspace.Gates gates = kept.gates();
      int width = config.headDim();
      Tensor both = DecoderLayer.byHead(gates.projected(), 2 * width);
      backend.copyColumns(DecoderLayer.byHead(byQuery, width), 0, width, both, 0);
      backend.copyColumns(DecoderLayer.byHead(gates.gate(), width), 0, width, both, width);
      return gates.projected();
    }

    /**
     * Writes the gradient by the input of linear attention to {@code room.input}, or adds it.
     *
     * @param byAttended the gradient by what the output projection multiplies
     * @param factor the input, whitened where it has a whitening
     */
    private void linearAttention(LinearHeads heads, Tensor byAttended, Tensor factor, boolean add) {
      Workspace.Linear linear = kept.linear();
      Workspace.LinearScratch by = Objects.requireNonNull(room.linear());
      training.gatedGradients(Activation.SILU, linear.gate(), linear.normed(), byAttended);
      norm(
          heads.byHead(linear.out()),
          LayerRole.LINEAR_NORM,
          null,
          config.linearNorm(),
          heads.byHead(linear.normed()),
          heads.byHead(linear.normed()));
      heads.backward(results.batch, linear, by, sums);
      Workspace.LinearFused fused = linear.fused();
      if (fused != null) {
        heads.fuse(fused, by, linear.gate());
        linear(LayerRole.LINEAR_HEADS_GATE, null, factor, fused.headsGate, add, room.input());
        linear(LayerRole.LINEAR_RATE_DECAY, null, factor, fused.rateDecay, true, room.input());
        return;
      }
      linear(LayerRole.LINEAR_HEADS, null, factor, by.heads(), add, room.input());
      linear(LayerRole.LINEAR_GATE, null, factor, linear.gate(), true, room.input());
      linear(LayerRole.LINEAR_RATE, null, factor, by.rate(), true, room.input());
      linear(LayerRole.LINEAR_DECAY, null, factor, by.decay(), true, room.input());
    }

    /**
     * Writes the gradient by the input of a layer's convolution to {@code room.input}, or adds it.
     *
     * @param byAttended the gradient by what the output projection multiplies
     * @param factor the input, whitened where it has a whitening
     */
    private void convolution(Tensor byAttended, Tensor factor, boolean add) {
      Workspace.Convolution by = kept.convolution();
      convolution.backward(results.batch, by, byAttended, sums);
      linear(LayerRole.CONVOLUTION_GATE, null, factor, by.gate(), add, room.input());
      linear(LayerRole.CONVOLUTION_OUTPUT_GATE, null, factor, by.outputGate(), true, room.input());
      linear(LayerRole.CONVOLUTION_INPUT, null, factor, by.input(), true, room.input());
    }

    /** Memory for the gradient by what the output projection of attention multiplies. */
    private Tensor byAttended() {
      return latents == null || !latents.sizes.hasNarrowValues()
          ? room.heads()
          : Workspace.Buffers.narrow(
              kept.latents().keysAndValues(),
              results.x.rows(),
              config.attendedWidth(TokenMixer.SOFTMAX));
    }

    /**
     * Writes the gradient by the input of attention with latent vectors to {@code room.input}, or
     * adds it. Results of the forward pass are overwritten by gradients by them.
     *
     * @param factor the input, whitened where it has a whitening
     */
    private void latents(
        Shared shared, Tensor factor, Tensor byQuery, Tensor byKey, Tensor byValue, boolean add) {
      Workspace.Latents latent = kept.latents();
      int queryTable = decoder.queryTable(results.attention);
      Tensor turned = shared.heads.takeRotated(byQuery, latent);
      turnBack(turned, queryTable, shared);
      shared.heads.putRotated(turned, byQuery);
      if (latent.query() == null) {
        linear(LayerRole.QUERY, null, factor, byQuery, add, room.input());
      } else {
        Tensor byLatent = Objects.requireNonNull(latent.normedQuery());
        linear(LayerRole.QUERY_EXPANSION, null, byLatent, byQuery, false, byLatent);
        throughLatentNorm(LayerRole.QUERY_LATENT_NORM, latent.query(), byLatent);
        linear(LayerRole.QUERY_COMPRESSION, null, factor, byLatent, add, room.input());
      }
      shared.heads.takeRotated(byKey, latent);
      backend.linear(latent.rotatedHeads(), shared.ones, null, latent.rotatedKey());
      turnBack(latent.rotatedKey(), decoder.keyTable(results.attention), shared);
      linear(LayerRole.ROTATED_KEY, null, factor, latent.rotatedKey(), true, room.input());
      shared.heads.join(byKey, byValue, latent.keysAndValues());
      Tensor byLatent = latent.normedKeyValue();
      linear(
          LayerRole.KEY_VALUE_EXPANSION, null, byLatent, latent.keysAndValues(), false, byLatent);
      throughLatentNorm(LayerRole.KEY_VALUE_LATENT_NORM, latent.keyValue(), byLatent);
      linear(LayerRole.KEY_VALUE_COMPRESSION, null, factor, byLatent, true, room.input());
    }

    private void turnBack(Tensor byHeads, int table, Shared shared) {
      training.ropeGradient(
          byHeads, config.rotaryPairs(), shared.sizes.rotated(), table, results.batch);
    }

    private void throughLatentNorm(LayerRole role, Tensor latent, Tensor by) {
      norm(latent, role, null, config.latentNorm(), by, by);
    }

    /**
     * Adds the gradients by the sinks. A sink takes the share {@code exp(sink - logSum)} of the
     * softmax of a query and gives no value, so that the gradient by its score is this share times
     * {@code -gradient . out}.
     */
    private void addSinks() {
      Tensor sinks = weights.find(LayerRole.SINKS);
      Tensor sum = sums.find(LayerRole.SINKS);
      if (sinks == null || sum == null) {
        return;
      }
      Tensor logSums = Objects.requireNonNull(kept.logSums());
      int heads = config.numAttentionHeads();
      float[] logs = floats(logSums);
      // The log-sums are needed no more: their memory takes one number a head, and one a query.
      Tensor row = logSums.slice(0, 1);
      backend.mix(List.of(new TensorMix(row, new double[] {1}, List.of(sinks))));
      float[] scores = floats(row);
      training.rowProducts(byHead(room.heads()), byHead(results.attended.heads()), column(logSums));
      float[] products = floats(logSums);
      float[] gradients = new float[heads];
      for (int h = 0; h < heads; h++) {
        double all = 0;
        for (int i = h; i < logs.length; i += heads) {
          all -= Math.exp(scores[h] - logs[i]) * products[i];
        }
        gradients[h] = (float) all;
      }
      backend.upload(gradients, row);
      backend.add(sum, row);
    }

    private Tensor byHead(Tensor heads) {
      return heads.reshape(heads.elements() / config.headDim(), config.headDim());
    }

    private static Tensor column(Tensor tensor) {
      return tensor.reshape(tensor.elements(), 1);
    }

    private float[] floats(Tensor tensor) {
      float[] values = new float[Math.toIntExact(tensor.elements())];
      backend.download(tensor, values);
      return values;
    }

    /**
     * The gradient by heads before rotation and norm, in place.
     *
     * @param normed the input of the norm
     */
    private void turnBack(LayerRole role, Tensor normed, Tensor byHeads) {
      if (config.normsRotatedHeads()) {
        throughHeadNorm(role, normed, byHeads);
        rotateBack(role, byHeads);
      } else {
        rotateBack(role, byHeads);
        throughHeadNorm(role, normed, byHeads);
      }
    }

    private void rotateBack(LayerRole role, Tensor byHeads) {
      int table =
          role == LayerRole.QUERY_NORM
              ? decoder.queryTable(results.attention)
              : decoder.keyTable(results.attention);
      if (table >= 0) {
        training.ropeGradient(
            byHeads, config.rotaryPairs(), config.headDim(), table, results.batch);
      }
    }

    private void throughHeadNorm(LayerRole role, Tensor normed, Tensor byHeads) {
      Tensor weight = weights.find(role);
      if (weight != null) {
        long rows = byHeads.elements() / weight.columns();
        Tensor by = byHeads.reshape(rows, weight.columns());
        norm(normed.reshape(rows, weight.columns()), role, null, config.innerNorm(), by, by);
      }
    }

    /**
     * The input of projections, times its whitening where there is one: rounded once where the
     * products by it would round it.
     */
    private Tensor factor(Tensor input, @Nullable Tensor by) {
      if (by == null) {
        return input;
      }
      Tensor whitened = whitened(input, by);
      if (backend.productType(DType.BF16) == DType.F32) {
        return whitened;
      }
      backend.copy(whitened, room.roundedInput());
      return room.roundedInput();
    }

    private Tensor whitened(Tensor input, Tensor by) {
      backend.linear(input, by, null, room.whitened());
      return room.whitened();
    }

    /**
     * Adds the wanted gradients of a projection's matrix and bias, and writes or adds that by its
     * input.
     *
     * @param input the input, whitened where it has a whitening
     * @param output the gradient by the output
     * @param byInput the gradient by the input, or what it is added to; may be {@code input}
     */
    private void linear(
        LayerRole role,
        @Nullable LayerRole bias,
        Tensor input,
        Tensor output,
        boolean add,
        Tensor byInput) {
      Tensor weight = weights.get(role);
      Tensor factor = rounded(output, weight);
      Tensor sum = sums.find(role);
      if (sum != null) {
        backend.crossProduct(factor, input, sum);
      }
      Tensor biasSum = bias == null ? null : sums.find(bias);
      if (biasSum != null) {
        training.addColumns(output, biasSum);
      }
      training.linearGradient(factor, weight, add, byInput);
    }

    /** A gradient, rounded once where both products that it is a factor of would round it. */
    private Tensor rounded(Tensor output, Tensor weight) {
      if (backend.productType(DType.BF16) == DType.F32
          || training.gradientType(weight) == DType.F32) {
        return output;
      }
      Tensor rounded = Workspace.Buffers.narrow(room.rounded(), output.rows(), output.columns());
      backend.copy(output, rounded);
      return rounded;
    }

    /** Adds {@code room.input}, as the norm in front of it hands it on, to the gradient. */
    private void addThroughNorm(LayerRole role, LayerRole bias, Tensor states) {
      if (weights.find(role) != null) {
        norm(states, role, bias, config.norm(), room.input(), room.input());
      }
      backend.add(gradient, room.input());
    }

    private void norm(
        Tensor states,
        LayerRole role,
        @Nullable LayerRole bias,
        NormSpec spec,
        Tensor output,
        Tensor out) {
      DecoderGradient.this.norm(
          states,
          weights.get(role),
          spec,
          output,
          sums.get(role),
          bias == null ? null : sums.find(bias),
          out);
    }
  }

  @Override
  public void close() {
    rooms.forEach(room -> room.work.close());
    arena.close();
  }
}
