package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.NormSpec;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The gradients of a {@link DecoderLayer}. A layer's forward pass is run once more, from the
 * layer's input, and its results are kept; from the gradient by the layer's output those by its
 * input and by its weights are then computed, in the reverse order. So only the inputs of layers
 * have to be held from the forward pass to the backward pass (Chen et al. 2016, "Training Deep Nets
 * with Sublinear Memory Cost").
 *
 * <p>{@code T} is the number of tokens of a batch, {@code d} the hidden size, {@code k} the number
 * of feed-forward channels.
 */
public final class DecoderGradient implements AutoCloseable {
  private final Backend backend;
  private final TrainingOps training;
  private final ModelConfig config;
  private final DecoderLayer decoder;
  private final Workspace work;
  private final TensorArena arena;
  private final Gradients full;

  /**
   * Gradients by results of the forward pass.
   *
   * @param source a copy of the gradient by the layer's output, {@code [T, d]}; memory of experts
   * @param middle the hidden states between attention and feed-forward part, {@code [T, d]}
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
   */
  private record Gradients(
      Tensor source,
      Tensor middle,
      Tensor input,
      Tensor scratch,
      Tensor heads,
      Tensor whitened,
      Tensor fused,
      Tensor channels,
      Tensor rounded,
      Tensor roundedInput) {
    private Gradients rows(long tokens) {
      return new Gradients(
          source.slice(0, tokens),
          middle.slice(0, tokens),
          input.slice(0, tokens),
          scratch.slice(0, tokens),
          heads.slice(0, tokens),
          whitened.slice(0, tokens),
          fused.slice(0, tokens),
          channels.slice(0, tokens),
          rounded.slice(0, tokens),
          roundedInput.slice(0, tokens));
    }
  }

  /** Allocates buffers for batches of up to {@code maxTokens} tokens. */
  public DecoderGradient(Backend backend, ModelConfig config, long maxTokens) {
    this.backend = backend;
    this.training = backend.training();
    this.config = config;
    this.decoder = new DecoderLayer(backend, config, training);
    this.work = Workspace.keeping(backend, config, maxTokens);
    this.arena = backend.arena();
    this.full =
        new Gradients(
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, queries(config)),
            allocate(maxTokens, config.hiddenSize()),
            allocate(maxTokens, queries(config) + 2 * keys(config)),
            allocate(maxTokens, config.widestChannels()),
            arena.allocate(DType.BF16, maxTokens, widest(config)),
            arena.allocate(DType.BF16, maxTokens, config.hiddenSize()));
  }

  /** The most columns of the output of a projection. */
  private static long widest(ModelConfig config) {
    return Math.max(
        Math.max(config.hiddenSize(), config.widestChannels()), queries(config) + 2 * keys(config));
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

  /** Bytes of the buffers for {@code maxTokens} tokens. */
  public static long bytes(ModelConfig config, long maxTokens) {
    long columns =
        5L * config.hiddenSize() + 2 * queries(config) + 2 * keys(config) + config.widestChannels();
    return Workspace.keepingBytes(config, maxTokens)
        + maxTokens * columns * DType.F32.byteSize()
        + maxTokens * (widest(config) + config.hiddenSize()) * DType.BF16.byteSize();
  }

  /**
   * Symmetric matrices {@code [d, d]} by which gradients of weights are multiplied from the right.
   *
   * @param attention for the projections of queries, keys and values
   * @param feedForward for the gate and up projections, and for routers
   */
  public record Whitening(Tensor attention, Tensor feedForward) {}

  /** A loss that depends on a layer's output. */
  @FunctionalInterface
  public interface Loss {
    /**
     * Computes the gradient of the loss.
     *
     * @param output {@code [T, d]}: the layer's output, becomes the gradient by it
     */
    void differentiate(Tensor output);
  }

  /**
   * Turns the gradient by a layer's output into that by its input, and adds the gradients by its
   * weights.
   *
   * @param x the layer's input, {@code [T, d]}; it stays as it is
   * @param gradient {@code [T, d]}: by the layer's output, becomes that by its input
   * @param sums for each weight its gradient in f32, which is added to
   */
  public void run(
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      TokenBatch batch,
      Tensor gradient,
      LayerWeights sums) {
    step(weights, attention, x, batch, gradient, null, sums).run(null);
  }

  /**
   * Runs a layer, computes the gradient of a loss by its output, and goes on as {@link
   * #run(LayerWeights, LayerAttention, Tensor, TokenBatch, Tensor, LayerWeights)} does: for a loss
   * of this layer alone, so that the forward pass is run only once; that of experts twice.
   *
   * @param gradient {@code [T, d]}: gets the output, then the gradients
   * @param whitening by what gradients of weights are multiplied
   */
  public void run(
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      TokenBatch batch,
      Tensor gradient,
      Loss loss,
      Whitening whitening,
      LayerWeights sums) {
    step(weights, attention, x, batch, gradient, whitening, sums).run(loss);
  }

  private Step step(
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      TokenBatch batch,
      Tensor gradient,
      @Nullable Whitening whitening,
      LayerWeights sums) {
    Workspace.Buffers kept = work.forTokens(x.rows());
    Gradients room = full.rows(x.rows());
    return new Step(weights, sums, attention, x, batch, kept, room, gradient, whitening);
  }

  /** The gradients of one layer on one batch. */
  private final class Step {
    private final LayerWeights weights;
    private final LayerWeights sums;
    private final LayerAttention attention;
    private final Tensor x;
    private final TokenBatch batch;
    private final Workspace.Buffers kept;
    private final Gradients room;
    private final Tensor gradient;
    private final @Nullable Whitening whitening;

    private Step(
        LayerWeights weights,
        LayerWeights sums,
        LayerAttention attention,
        Tensor x,
        TokenBatch batch,
        Workspace.Buffers kept,
        Gradients room,
        Tensor gradient,
        @Nullable Whitening whitening) {
      this.weights = weights;
      this.sums = sums;
      this.attention = attention;
      this.x = x;
      this.batch = batch;
      this.kept = kept;
      this.room = room;
      this.gradient = gradient;
      this.whitening = whitening;
    }

    /**
     * Computes the gradients.
     *
     * @param loss gives the gradient by the output; null where {@code gradient} holds it
     */
    private void run(@Nullable Loss loss) {
      DecoderLayer.Normed input = decoder.attentionInput(weights, x, kept);
      KeyValues all = KeyValues.of(kept);
      DecoderLayer.Attended attended = decoder.attend(weights, attention, input, batch, kept, all);
      if (config.parallel()) {
        parallel(input, attended, loss);
      } else {
        sequential(input, attended, loss);
      }
    }

    /** Attention, and then a feed-forward part that has attention's output in its input. */
    private void sequential(
        DecoderLayer.Normed input, DecoderLayer.Attended attended, @Nullable Loss loss) {
      backend.copy(x, room.middle());
      DecoderLayer.Normed middle =
          decoder.addAndNormalise(
              weights, decoder.project(weights, attended, kept), room.middle(), kept);
      if (weights.experts().isEmpty()) {
        DecoderLayer.Channels channels = decoder.inputOfDown(weights, middle, kept);
        if (loss != null) {
          backend.copy(room.middle(), gradient);
          backend.add(gradient, decoder.contribute(weights, channels, kept).states());
          loss.differentiate(gradient);
        }
        feedForward(middle, channels, gradient);
      } else {
        if (loss != null) {
          backend.copy(room.middle(), gradient);
          decoder.addExperts(weights, middle, gradient, kept);
          loss.differentiate(gradient);
        }
        new ExpertGradient(backend, training, config, kept)
            .run(
                weights,
                sums,
                new ExpertGradient.States(
                    middle.states(),
                    whitening == null ? null : whitened(middle.states(), whitening.feedForward()),
                    gradient,
                    room.input()),
                new ExpertGradient.Scratch(room.scratch(), room.source(), room.channels()));
      }
      addThroughNorm(
          LayerRole.FEED_FORWARD_INPUT_NORM, LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, room.middle());
      attention(input, attended, gradient, false);
      addThroughNorm(LayerRole.ATTENTION_INPUT_NORM, LayerRole.ATTENTION_INPUT_NORM_BIAS, x);
    }

    /** Attention and feed-forward part of the same hidden states. */
    private void parallel(
        DecoderLayer.Normed input, DecoderLayer.Attended attended, @Nullable Loss loss) {
      boolean oneNorm = weights.find(LayerRole.FEED_FORWARD_INPUT_NORM) == null;
      DecoderLayer.Normed own = oneNorm ? input : decoder.feedForwardInput(weights, x, input, kept);
      DecoderLayer.Channels channels = decoder.inputOfDown(weights, own, kept);
      if (loss != null) {
        backend.copy(x, gradient);
        backend.add(gradient, decoder.project(weights, attended, kept).states());
        backend.add(gradient, decoder.contribute(weights, channels, kept).states());
        loss.differentiate(gradient);
      }
      backend.copy(gradient, room.source());
      feedForward(own, channels, room.source());
      if (!oneNorm) {
        addThroughNorm(
            LayerRole.FEED_FORWARD_INPUT_NORM, LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, x);
      }
      attention(input, attended, room.source(), oneNorm);
      addThroughNorm(LayerRole.ATTENTION_INPUT_NORM, LayerRole.ATTENTION_INPUT_NORM_BIAS, x);
    }

    /**
     * Writes the gradient by the input of the feed-forward part to {@code room.input}.
     *
     * @param output the gradient by what the part adds to the residual stream
     */
    private void feedForward(
        DecoderLayer.Normed input, DecoderLayer.Channels channels, Tensor output) {
      Tensor norm = weights.find(LayerRole.FEED_FORWARD_OUTPUT_NORM);
      Tensor byProjected = output;
      if (norm != null) {
        Tensor projected = decoder.down(weights, channels, kept);
        norm(
            projected,
            LayerRole.FEED_FORWARD_OUTPUT_NORM,
            null,
            config.norm(),
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
      Tensor factor = factor(input.states(), whitening == null ? null : whitening.feedForward());
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
    private void attention(
        DecoderLayer.Normed input, DecoderLayer.Attended attended, Tensor output, boolean add) {
      Tensor byProjected = output;
      if (weights.find(LayerRole.ATTENTION_OUTPUT_NORM) != null) {
        norm(
            kept.attentionProjected(),
            LayerRole.ATTENTION_OUTPUT_NORM,
            null,
            config.norm(),
            output,
            room.scratch());
        byProjected = room.scratch();
      }
      linear(
          LayerRole.OUTPUT,
          LayerRole.OUTPUT_BIAS,
          attended.heads(),
          byProjected,
          false,
          room.heads());
      long tokens = x.rows();
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
          decoder.spec(weights, attention),
          batch,
          attended.heads(),
          Objects.requireNonNull(kept.logSums()),
          room.heads(),
          byQuery,
          byKey,
          byValue);
      addSinks(attended);
      turnBack(LayerRole.QUERY_NORM, kept.queryProjected(), byQuery);
      turnBack(LayerRole.KEY_NORM, kept.keyProjected(KeyValues.of(kept)), byKey);
      Tensor factor = factor(input.states(), whitening == null ? null : whitening.attention());
      if (config.headsInterleaved()) {
        Tensor fused = kept.queryKeyValue();
        long heads = elements.rows() / config.headDim();
        backend.gather(
            elements.reshape(heads, config.headDim()),
            kept.headRows(config).inverse(),
            fused.reshape(heads, config.headDim()));
        linear(
            LayerRole.QUERY_KEY_VALUE,
            LayerRole.QUERY_KEY_VALUE_BIAS,
            factor,
            fused,
            add,
            room.input());
      } else {
        linear(LayerRole.QUERY, LayerRole.QUERY_BIAS, factor, byQuery, add, room.input());
        linear(LayerRole.KEY, LayerRole.KEY_BIAS, factor, byKey, true, room.input());
        linear(LayerRole.VALUE, LayerRole.VALUE_BIAS, factor, byValue, true, room.input());
      }
    }

    /**
     * Adds the gradients by the sinks. A sink takes the share {@code exp(sink - logSum)} of the
     * softmax of a query and gives no value, so that the gradient by its score is this share times
     * {@code -gradient . out}.
     */
    private void addSinks(DecoderLayer.Attended attended) {
      Tensor sinks = weights.find(LayerRole.SINKS);
      if (sinks == null) {
        return;
      }
      Tensor logSums = Objects.requireNonNull(kept.logSums());
      int heads = config.numAttentionHeads();
      float[] logs = floats(logSums);
      // The log-sums are needed no more: their memory takes one number a head, and one a query.
      Tensor row = logSums.slice(0, 1);
      backend.mix(List.of(new TensorMix(row, new double[] {1}, List.of(sinks))));
      float[] scores = floats(row);
      training.rowProducts(byHead(room.heads()), byHead(attended.heads()), column(logSums));
      float[] products = floats(logSums);
      float[] gradients = new float[heads];
      for (int h = 0; h < heads; h++) {
        double sum = 0;
        for (int i = h; i < logs.length; i += heads) {
          sum -= Math.exp(scores[h] - logs[i]) * products[i];
        }
        gradients[h] = (float) sum;
      }
      backend.upload(gradients, row);
      backend.add(sums.get(LayerRole.SINKS), row);
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

    /** The gradient by heads before rotation and norm, in place. */
    private void turnBack(LayerRole role, Tensor projected, Tensor byHeads) {
      int table = decoder.table(attention);
      if (table >= 0) {
        training.ropeGradient(byHeads, config.rotaryPairs(), config.headDim(), table, batch);
      }
      Tensor weight = weights.find(role);
      if (weight != null) {
        long rows = byHeads.elements() / weight.columns();
        Tensor by = byHeads.reshape(rows, weight.columns());
        norm(projected.reshape(rows, weight.columns()), role, null, config.headNorm(), by, by);
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
     * Adds the gradients of a projection's matrix and bias, and writes or adds that by its input.
     *
     * @param input the input, whitened where it has a whitening
     * @param output the gradient by the output
     * @param byInput the gradient by the input, or what it is added to
     */
    private void linear(
        LayerRole role, LayerRole bias, Tensor input, Tensor output, boolean add, Tensor byInput) {
      Tensor weight = weights.get(role);
      Tensor factor = rounded(output, weight);
      backend.crossProduct(factor, input, sums.get(role));
      Tensor biasSum = sums.find(bias);
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
      Tensor weight = weights.get(role);
      Tensor sum = sums.get(role);
      if (config.hasLayerNorms()) {
        Tensor biasSum = bias == null ? null : sums.find(bias);
        training.layerNormGradient(states, weight, spec.eps(), output, sum, biasSum, out);
      } else {
        training.rmsNormGradient(states, weight, spec, output, sum, out);
      }
    }
  }

  @Override
  public void close() {
    work.close();
    arena.close();
  }
}
