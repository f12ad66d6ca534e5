package dev.laco.transformer;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.ForwardOps;
import dev.laco.backend.SequenceStates;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LatentAttention;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.LinearAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.NormSpec;
import dev.laco.model.RopeParameters;
import dev.laco.model.RotaryPairs;
import dev.laco.model.ShortConvolution;
import dev.laco.model.TokenMixer;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * One decoder layer on the residual stream {@code x [T, d]}, in steps whose results can be looked
 * at. A family has norms before attention and feed-forward part, behind them, or both.
 *
 * <pre>  x += project(attend(x))
 *   x += contribute(channels(x))</pre>
 *
 * <p>In a parallel layer the channels are those of the {@code x} before attention.
 *
 * <p>{@link #run} does both lines. A step returns what it has filled, and the next step takes it:
 * {@link Normed}, {@link Attended}, {@link Projected} and {@link Channels} are names for memory of
 * the workspace. {@code Normed}, {@code Projected} and {@code Channels} share memory, so that
 * filling one ends the others. The second line has these steps only in layers with one feed-forward
 * network; {@link #run} runs mixtures of experts, too.
 */
public final class DecoderLayer {
  private final ForwardOps backend;
  private final ModelConfig config;
  private final @Nullable TrainingOps training;
  private final List<RopeParameters> rotations;

  /** Makes the heads of attention with latent vectors; null where attention has none. */
  private final @Nullable LatentHeads latentHeads;

  /** Computes linear attention; null where no layer has it. */
  private final @Nullable LinearHeads linearHeads;

  /** Computes the convolutions of layers that have one in the place of attention. */
  private final GatedConvolution convolution;

  /** Runs the layers of models of one config. */
  public DecoderLayer(ForwardOps backend, ModelConfig config) {
    this(backend, config, null);
  }

  /**
   * Runs the layers of models of one config.
   *
   * @param training needed only for buffers that {@link Workspace#keeping keep} all results
   */
  DecoderLayer(ForwardOps backend, ModelConfig config, @Nullable TrainingOps training) {
    this.backend = backend;
    this.config = config;
    this.training = training;
    this.rotations = config.rotations();
    LatentAttention sizes = config.latentAttention();
    this.latentHeads = sizes == null ? null : new LatentHeads(backend, config, sizes);
    LinearAttention linear = config.linearAttention();
    this.linearHeads = linear == null ? null : new LinearHeads(backend, config, training, linear);
    this.convolution = new GatedConvolution(backend, training);
  }

  /**
   * Hidden states {@code [T, d]} after a norm: the input of the projections behind it, in bf16
   * where all of these projections would round it to bf16.
   */
  public record Normed(Tensor states) {}

  /**
   * Attention outputs of all heads, {@code [T, heads * headDim]}, before the output projection;
   * {@code [T, heads * value]} where attention has {@link LatentAttention latent vectors}, {@code
   * [T, valueHeads * value]} of {@link LinearAttention}, and {@code [T, n]} of a {@link
   * ShortConvolution}.
   */
  public record Attended(Tensor heads) {}

  /** What attention or the feed-forward part adds to the residual stream, {@code [T, d]}. */
  public record Projected(Tensor states) {}

  /**
   * Feed-forward channels {@code activation(gate) * up} or {@code activation(up)}, {@code [T, k]};
   * in bf16 where only the down projection reads them and would round them to bf16.
   */
  public record Channels(Tensor values) {}

  /** Runs the whole layer over whole sequences, {@code x} in place. */
  public void run(
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      TokenBatch batch,
      Workspace.Buffers buffers) {
    run(weights, attention, x, batch, buffers, null, null);
  }

  /**
   * Runs the whole layer over tokens that follow those in {@code past}, {@code x} in place.
   *
   * @param past what a cache has of earlier tokens; null for whole sequences
   * @param inside gets {@code x} as it is after attention was added, {@code [T, d]}; null where
   *     nobody asks for it
   */
  void run(
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValueCache.@Nullable OfLayer past,
      @Nullable Tensor inside) {
    Normed input = attentionInput(weights, x, buffers);
    Attended attended = attend(weights, attention, input, batch, buffers, past);
    if (config.parallel()) {
      Channels channels =
          inputOfDown(weights, feedForwardInput(weights, x, input, buffers), buffers);
      backend.add(x, project(weights, attended, buffers).states());
      copy(x, inside);
      backend.add(x, contribute(weights, channels, buffers).states());
      return;
    }
    Normed normed = addAndNormalise(weights, project(weights, attended, buffers), x, buffers);
    copy(x, inside);
    addFeedForward(weights, normed, x, buffers);
  }

  /** Adds what the feed-forward part returns for {@code input} to {@code x}, in place. */
  private void addFeedForward(
      LayerWeights weights, Normed input, Tensor x, Workspace.Buffers buffers) {
    if (weights.experts().isEmpty()) {
      backend.add(x, contribute(weights, inputOfDown(weights, input, buffers), buffers).states());
    } else {
      addExperts(weights, input, x, buffers);
    }
  }

  /**
   * Adds what the feed-forward part returns at {@code y}, the residual stream after attention, to
   * {@code y} in place; also for mixtures of experts.
   */
  public void addFeedForward(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    addFeedForward(weights, feedForwardInput(weights, y, buffers), y, buffers);
  }

  private void copy(Tensor x, @Nullable Tensor to) {
    if (to != null) {
      backend.copy(x, to);
    }
  }

  /** Adds to each row of {@code x} what its experts return, in the order of the experts. */
  void addExperts(LayerWeights weights, Normed input, Tensor x, Workspace.Buffers buffers) {
    Workspace.Experts room = buffers.experts();
    linear(weights, input.states(), LayerRole.ROUTER, LayerRole.ROUTER_BIAS, room.logits());
    Routing routing = new Routing(backend, room.mixture(), weights, room.logits());
    for (int e = 0; e < weights.experts().size(); e++) {
      int[] rows = routing.rows(e);
      if (rows.length > 0) {
        Tensor states = room.input().slice(0, rows.length);
        backend.gather(input.states(), rows, states);
        LayerWeights own = weights.experts().get(e);
        Tensor channels = buffers.gate(rows.length, room.mixture().width());
        Tensor output = room.output().slice(0, rows.length);
        if (config.expertsTransposed()) {
          transposedExpert(own, states, buffers, channels, output);
        } else {
          expert(
              own.get(LayerRole.GATE),
              own.get(LayerRole.UP),
              own.get(LayerRole.DOWN),
              states,
              buffers,
              channels,
              output);
        }
        backend.addRows(x, rows, routing.shares(e), output);
      }
    }
    if (room.mixture().sharedWidth() > 0) {
      addSharedExpert(weights, input, x, buffers);
    }
  }

  /**
   * Adds what the expert of all tokens returns, times the sigmoid of its router's logit where it
   * has a router.
   */
  private void addSharedExpert(
      LayerWeights weights, Normed input, Tensor x, Workspace.Buffers buffers) {
    Tensor router = weights.find(LayerRole.SHARED_ROUTER);
    Tensor logits = buffers.experts().sharedLogits();
    if (router != null) {
      backend.linear(input.states(), router, null, logits);
    }
    Tensor output = buffers.experts().output();
    expert(
        weights.get(LayerRole.SHARED_GATE),
        weights.get(LayerRole.SHARED_UP),
        weights.get(LayerRole.SHARED_DOWN),
        input.states(),
        buffers,
        buffers.gate(output.rows(), buffers.experts().mixture().sharedWidth()),
        output);
    if (router == null) {
      backend.add(x, output);
    } else {
      float[] shares = Routing.sharedShares(backend, logits);
      backend.addRows(x, IntStream.range(0, shares.length).toArray(), shares, output);
    }
  }

  /**
   * Runs an expert on the rows of its input, {@code [R, d]}.
   *
   * @param channels gets {@code activation(gate) * up}, {@code [R, k]}; may be the memory of gates
   * @param output gets what the expert returns, {@code [R, d]}
   */
  void expert(
      Tensor gate,
      Tensor up,
      Tensor down,
      Tensor input,
      Workspace.Buffers buffers,
      Tensor channels,
      Tensor output) {
    Tensor gates = buffers.gate(input.rows(), gate.rows());
    Tensor ups = buffers.up(input.rows(), up.rows());
    backend.linear(input, gate, null, gates);
    backend.linear(input, up, null, ups);
    backend.gatedActivation(config.hiddenAct(), gates, ups, channels);
    backend.linear(channels, down, null, output);
  }

  /** Runs likewise an expert whose matrices have a row for each input. */
  void transposedExpert(
      LayerWeights own, Tensor input, Workspace.Buffers buffers, Tensor channels, Tensor output) {
    Tensor gateUp = buffers.experts().gateUp(input.rows());
    backend.linearTransposed(
        input, own.get(LayerRole.GATE_UP_TRANSPOSED), own.find(LayerRole.GATE_UP_BIAS), gateUp);
    ClampedGate clamped = buffers.experts().mixture().gate();
    if (clamped == null) {
      int width = Math.toIntExact(channels.columns());
      Tensor gates = buffers.gate(input.rows(), width);
      Tensor ups = buffers.up(input.rows(), width);
      backend.copyColumns(gateUp, 0, width, gates, 0);
      backend.copyColumns(gateUp, width, width, ups, 0);
      backend.gatedActivation(config.hiddenAct(), gates, ups, channels);
    } else {
      backend.clampedGate(gateUp, clamped, channels);
    }
    backend.linearTransposed(
        channels, own.get(LayerRole.DOWN_TRANSPOSED), own.find(LayerRole.DOWN_BIAS), output);
  }

  /**
   * Computes attention over whole sequences.
   *
   * @param attention what the attention of the layer has
   */
  public Attended attend(
      LayerWeights weights,
      LayerAttention attention,
      Tensor x,
      TokenBatch batch,
      Workspace.Buffers buffers) {
    Normed input = attentionInput(weights, x, buffers);
    return attend(weights, attention, input, batch, buffers, null);
  }

  /**
   * Computes attention over tokens that follow those in {@code past}.
   *
   * @param past what a cache has of earlier tokens; null for whole sequences
   */
  Attended attend(
      LayerWeights weights,
      LayerAttention attention,
      Normed input,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValueCache.@Nullable OfLayer past) {
    TokenMixer mixer = attention.mixer();
    MixerStates states = past == null || attention.hasSoftmax() ? null : past.states(mixer);
    return switch (mixer) {
      case SOFTMAX -> {
        KeyValues keyValues = keyValues(weights, batch, buffers, past);
        yield softmaxAttention(weights, attention, input, batch, buffers, keyValues);
      }
      case LINEAR_ATTENTION -> {
        Workspace.Linear room = buffers.linear();
        Objects.requireNonNull(linearHeads).attend(weights, input.states(), batch, room, states);
        yield room.attended();
      }
      case CONVOLUTION -> {
        Workspace.Convolution room = buffers.convolution();
        SequenceStates latest = states == null ? null : states.convolution();
        convolution.attend(weights, input.states(), batch, room, latest);
        yield room.attended();
      }
    };
  }

  /** The keys and values of earlier tokens, and memory for those of a batch. */
  private KeyValues keyValues(
      LayerWeights weights,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValueCache.@Nullable OfLayer past) {
    DType type = keyValueType(weights, buffers);
    return past == null
        ? KeyValues.of(buffers, type)
        : past.keyValues(type, batch.sequences(), buffers);
  }

  private Attended softmaxAttention(
      LayerWeights weights,
      LayerAttention attention,
      Normed input,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValues past) {
    if (latentHeads == null) {
      projectHeads(weights, attention, input.states(), batch, buffers, past);
    } else {
      latentHeads.project(
          weights,
          input.states(),
          queryTable(attention),
          keyTable(attention),
          batch,
          buffers,
          past);
    }
    past.keep(backend, batch);
    AttentionSpec spec = spec(weights, attention);
    Tensor sinks = weights.find(LayerRole.SINKS);
    Tensor logSums = buffers.logSums();
    if (logSums == null) {
      backend.attention(
          buffers.query, past.keys(), past.values(), sinks, spec, batch, buffers.heads);
    } else {
      Objects.requireNonNull(training)
          .attention(
              buffers.query,
              buffers.key,
              buffers.value,
              sinks,
              spec,
              batch,
              buffers.heads,
              logSums);
    }
    if (latentHeads != null) {
      latentHeads.narrow(buffers.heads, buffers.attended.heads());
    }
    if (config.gatedHeads()) {
      Tensor gate = buffers.gates().gate();
      backend.gatedActivation(Activation.SIGMOID, gate, buffers.heads, buffers.attended.heads());
    }
    return buffers.attended;
  }

  /** Computes queries, and the new keys and values, from the input of attention. */
  private void projectHeads(
      LayerWeights weights,
      LayerAttention attention,
      Tensor normed,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValues past) {
    Tensor queryNorm = weights.find(LayerRole.QUERY_NORM);
    Tensor keyNorm = weights.find(LayerRole.KEY_NORM);
    boolean rotates = queryTable(attention) >= 0;
    Tensor query = rotates || queryNorm != null ? buffers.queryProjected() : buffers.query;
    Tensor key = rotates || keyNorm != null ? buffers.keyProjected() : past.newKeys();
    if (config.headsInterleaved()) {
      Tensor all = buffers.queryKeyValue();
      linear(weights, normed, LayerRole.QUERY_KEY_VALUE, LayerRole.QUERY_KEY_VALUE_BIAS, all);
      HeadRows rows = buffers.headRows(config);
      takeHeads(all, rows.queries, query);
      takeHeads(all, rows.keys, key);
      takeHeads(all, rows.values, past.newValues());
    } else {
      if (config.gatedHeads()) {
        Workspace.Gates gates = buffers.gates();
        linear(weights, normed, LayerRole.QUERY, LayerRole.QUERY_BIAS, gates.projected());
        int width = config.headDim();
        Tensor both = byHead(gates.projected(), 2 * width);
        backend.copyColumns(both, 0, width, byHead(query, width), 0);
        backend.copyColumns(both, width, width, byHead(gates.gate(), width), 0);
      } else {
        linear(weights, normed, LayerRole.QUERY, LayerRole.QUERY_BIAS, query);
      }
      linear(weights, normed, LayerRole.KEY, LayerRole.KEY_BIAS, key);
      linear(weights, normed, LayerRole.VALUE, LayerRole.VALUE_BIAS, past.newValues());
    }
    turn(query, queryNorm, queryTable(attention), batch, buffers.query);
    turn(key, keyNorm, keyTable(attention), batch, past.newKeys());
  }

  /**
   * The dtype in which keys and values of a layer are stored: that to which attention would round
   * them, so that they are rounded once. Gradients are computed of f32.
   */
  DType keyValueType(LayerWeights weights, Workspace.Buffers buffers) {
    return buffers.logSums() == null
        ? backend.keyValueType(products(weights), config.headDim())
        : DType.F32;
  }

  private DType products(LayerWeights weights) {
    return backend.productType(weights.get(LayerRole.OUTPUT).dtype());
  }

  /** What attention of a layer does with its queries, keys and values. */
  AttentionSpec spec(LayerWeights weights, LayerAttention attention) {
    return new AttentionSpec(
        config.numAttentionHeads(),
        config.numKeyValueHeads(),
        config.headDim(),
        attention.window(),
        config.attentionScores(),
        config.alibi(),
        products(weights));
  }

  /** Heads side by side as one head a row. */
  static Tensor byHead(Tensor heads, int width) {
    return heads.reshape(heads.elements() / width, width);
  }

  /** Copies heads of {@code all [T, heads]} to {@code to}, both taken as one head a row. */
  private void takeHeads(Tensor all, int[] rows, Tensor to) {
    int width = config.headDim();
    backend.gather(byHead(all, width), rows, to.reshape(rows.length, width));
  }

  /**
   * Normalises queries or keys, and rotates them, where the layer does so.
   *
   * @param heads f32, which may be overwritten where {@code out} has 16 bits; becomes the input of
   *     a norm behind the rotation
   * @param table of angles; below 0 for no rotation
   * @param out {@code heads} where they have neither norm nor rotation
   */
  private void turn(
      Tensor heads, @Nullable Tensor weight, int table, TokenBatch batch, Tensor out) {
    if (table >= 0 && weight != null && normsAndRotatesAtOnce(weight)) {
      backend.normRope(heads, weight, config.innerNorm(), config.headDim(), table, batch, out);
      return;
    }
    if (weight != null && config.normsRotatedHeads()) {
      rotate(heads, table, batch, heads);
      normHeads(heads, weight, out);
      return;
    }
    Tensor normed = heads;
    if (weight != null) {
      // What is rotated next is not rounded yet.
      normed = table >= 0 && out.dtype() != DType.F32 ? heads : out;
      normHeads(heads, weight, normed);
    }
    rotate(normed, table, batch, out);
  }

  private void normHeads(Tensor heads, Tensor weight, Tensor out) {
    Tensor rows = heads.reshape(heads.elements() / weight.columns(), weight.columns());
    norm(rows, weight, null, config.innerNorm(), out.reshape(rows.rows(), rows.columns()));
  }

  private void rotate(Tensor heads, int table, TokenBatch batch, Tensor out) {
    if (table >= 0) {
      backend.rope(heads, config.rotaryPairs(), config.headDim(), table, batch, out);
    }
  }

  /** Which of a batch's tables of angles turns the queries of a layer; below 0 for none. */
  int queryTable(LayerAttention attention) {
    return rotations.indexOf(attention.rotation());
  }

  /** Which of them turns the keys. */
  int keyTable(LayerAttention attention) {
    RopeParameters rotation = attention.rotation();
    return rotation == null ? -1 : rotations.indexOf(rotation.ofKeys());
  }

  /** Whether one op does what the family does to queries and keys. */
  private boolean normsAndRotatesAtOnce(Tensor weight) {
    return !config.hasLayerNorms()
        && !config.normsRotatedHeads()
        && config.rotaryPairs() == RotaryPairs.HALVES
        && weight.columns() == config.headDim();
  }

  /** Applies the output projection of attention. */
  public Projected project(LayerWeights weights, Attended attended, Workspace.Buffers buffers) {
    Tensor projected = buffers.attentionProjected();
    linear(weights, attended.heads(), LayerRole.OUTPUT, LayerRole.OUTPUT_BIAS, projected);
    Tensor norm = weights.find(LayerRole.ATTENTION_OUTPUT_NORM);
    return output(projected, norm, buffers.attentionOutput());
  }

  /** Applies the norm behind a projection, in the families that have one. */
  private Projected output(Tensor projected, @Nullable Tensor norm, Tensor out) {
    if (norm == null) {
      return new Projected(projected);
    }
    norm(projected, norm, null, config.innerNorm(), out);
    return new Projected(out);
  }

  /** The input of attention: normalised, in the families that do so. */
  Normed attentionInput(LayerWeights weights, Tensor x, Workspace.Buffers buffers) {
    Tensor norm = weights.find(LayerRole.ATTENTION_INPUT_NORM);
    if (norm == null) {
      return new Normed(x);
    }
    Tensor bias = weights.find(LayerRole.ATTENTION_INPUT_NORM_BIAS);
    Tensor out = buffers.attentionInput(attentionInputType(weights, norm, bias, x.rows()));
    normalise(norm, bias, x, out);
    return new Normed(out);
  }

  private DType attentionInputType(
      LayerWeights weights, Tensor norm, @Nullable Tensor bias, long rows) {
    DType type = inputType(weights, norm, bias, rows, roles(weights));
    // The feed-forward part of a parallel layer may have the same input.
    return config.parallel() && feedForwardInputType(weights, norm, bias, rows) != type
        ? DType.F32
        : type;
  }

  /** The roles of the matrices that project the input of attention. */
  private List<LayerRole> roles(LayerWeights weights) {
    return config.attentionInputRoles(mixer(weights));
  }

  private static TokenMixer mixer(LayerWeights weights) {
    if (weights.find(LayerRole.CONVOLUTION) == null) {
      return TokenMixer.SOFTMAX;
    }
    return weights.find(LayerRole.LINEAR_NORM) == null
        ? TokenMixer.CONVOLUTION
        : TokenMixer.LINEAR_ATTENTION;
  }

  private DType feedForwardInputType(
      LayerWeights weights, Tensor norm, @Nullable Tensor bias, long rows) {
    if (!weights.experts().isEmpty()) {
      return DType.F32;
    }
    List<LayerRole> behind =
        config.isGated() ? List.of(LayerRole.GATE, LayerRole.UP) : List.of(LayerRole.UP);
    return inputType(weights, norm, bias, rows, behind);
  }

  /** The dtype that a norm writes: bf16 if all projections of its output would round it to bf16. */
  private DType inputType(
      LayerWeights weights, Tensor norm, @Nullable Tensor bias, long rows, List<LayerRole> behind) {
    if (bias != null && bias.dtype() != norm.dtype()) {
      return DType.F32;
    }
    for (LayerRole role : behind) {
      if (backend.inputType(weights.get(role), rows) != DType.BF16) {
        return DType.F32;
      }
    }
    return DType.BF16;
  }

  /**
   * The input of the feed-forward part, of {@code y} that {@link #channels} is given: normalised,
   * in the families that do so.
   */
  private Normed feedForwardInput(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    return config.parallel() && weights.find(LayerRole.FEED_FORWARD_INPUT_NORM) == null
        ? attentionInput(weights, y, buffers)
        : feedForwardInput(weights, y, new Normed(y), buffers);
  }

  /**
   * The input of the feed-forward part: {@code y} normalised where it has a norm of its own, else
   * {@code otherwise}.
   */
  Normed feedForwardInput(
      LayerWeights weights, Tensor y, Normed otherwise, Workspace.Buffers buffers) {
    Tensor norm = weights.find(LayerRole.FEED_FORWARD_INPUT_NORM);
    if (norm == null) {
      return otherwise;
    }
    Tensor bias = weights.find(LayerRole.FEED_FORWARD_INPUT_NORM_BIAS);
    Tensor out = buffers.feedForwardInput(feedForwardInputType(weights, norm, bias, y.rows()));
    normalise(norm, bias, y, out);
    return new Normed(out);
  }

  /** Normalises hidden states {@code [T, d]} by the norm of the family. */
  public Normed normalise(
      Tensor weight, @Nullable Tensor bias, Tensor x, Workspace.Buffers buffers) {
    normalise(weight, bias, x, buffers.hidden);
    return buffers.normed;
  }

  /**
   * Normalises hidden states {@code [T, d]} by the norm of the family.
   *
   * @param bias null for zeros
   */
  public void normalise(Tensor weight, @Nullable Tensor bias, Tensor x, Tensor out) {
    norm(x, weight, bias, config.norm(), out);
  }

  private void norm(Tensor x, Tensor weight, @Nullable Tensor bias, NormSpec spec, Tensor out) {
    if (config.hasLayerNorms()) {
      backend.layerNorm(x, weight, bias, spec, out);
    } else {
      backend.rmsNorm(x, weight, spec, out);
    }
  }

  /** Adds attention to {@code x} and normalises the sum for the feed-forward part, in one op. */
  Normed addAndNormalise(
      LayerWeights weights, Projected attention, Tensor x, Workspace.Buffers buffers) {
    Tensor norm = weights.find(LayerRole.FEED_FORWARD_INPUT_NORM);
    if (norm == null) {
      backend.add(x, attention.states());
      return new Normed(x);
    }
    Tensor bias = weights.find(LayerRole.FEED_FORWARD_INPUT_NORM_BIAS);
    Tensor out = buffers.feedForwardInput(feedForwardInputType(weights, norm, bias, x.rows()));
    if (config.hasLayerNorms()) {
      backend.addLayerNorm(x, attention.states(), norm, bias, config.norm(), out);
    } else {
      backend.addRmsNorm(x, attention.states(), norm, config.norm(), out);
    }
    return new Normed(out);
  }

  /**
   * Computes the feed-forward channels at {@code y}, the residual stream after attention; before
   * it, where attention and feed-forward network are parallel. They are f32.
   */
  public Channels channels(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    return channels(weights, feedForwardInput(weights, y, buffers), DType.F32, buffers);
  }

  /** What the feed-forward part adds at {@code y}, which is that of {@link #channels}. */
  public Projected feedForward(LayerWeights weights, Tensor y, Workspace.Buffers buffers) {
    Normed input = feedForwardInput(weights, y, buffers);
    return contribute(weights, inputOfDown(weights, input, buffers), buffers);
  }

  /** Computes channels that only the down projection reads, and a gradient by it. */
  Channels inputOfDown(LayerWeights weights, Normed input, Workspace.Buffers buffers) {
    DType type = backend.inputType(weights.get(LayerRole.DOWN), input.states().rows());
    return channels(weights, input, type == DType.BF16 ? type : DType.F32, buffers);
  }

  private Channels channels(
      LayerWeights weights, Normed input, DType type, Workspace.Buffers buffers) {
    Tensor channels = buffers.channels(type);
    if (config.isGated()) {
      linear(weights, input.states(), LayerRole.GATE, LayerRole.GATE_BIAS, buffers.gate);
      linear(weights, input.states(), LayerRole.UP, LayerRole.UP_BIAS, buffers.up);
      backend.gatedActivation(config.hiddenAct(), buffers.gate, buffers.up, channels);
    } else {
      linear(weights, input.states(), LayerRole.UP, LayerRole.UP_BIAS, buffers.gate);
      backend.gatedActivation(config.hiddenAct(), buffers.gate, null, channels);
    }
    return new Channels(channels);
  }

  /** Applies the down projection of the feed-forward part. */
  public Projected contribute(LayerWeights weights, Channels channels, Workspace.Buffers buffers) {
    Tensor projected = down(weights, channels, buffers);
    Tensor norm = weights.find(LayerRole.FEED_FORWARD_OUTPUT_NORM);
    return output(projected, norm, buffers.feedForwardOutput());
  }

  /** Applies the down projection without the norm behind it. */
  Tensor down(LayerWeights weights, Channels channels, Workspace.Buffers buffers) {
    Tensor projected = buffers.feedForwardProjected();
    linear(weights, channels.values(), LayerRole.DOWN, LayerRole.DOWN_BIAS, projected);
    return projected;
  }

  /** Applies a projection of the layer, and its bias where the layer has one. */
  private void linear(
      LayerWeights weights, Tensor input, LayerRole matrix, LayerRole bias, Tensor output) {
    backend.linear(input, weights.get(matrix), weights.find(bias), output);
  }
}
