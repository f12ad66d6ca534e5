package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TrainingOps;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LayerRole;
import dev.laco.model.Mixture;
import dev.laco.model.ModelConfig;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The gradients of a mixture of experts. The choice of experts has none: it changes in steps. Each
 * expert's forward pass is run once more, on the tokens that were given to it.
 */
final class ExpertGradient {
  private static final LayerWeights NO_SUMS = new LayerWeights(Map.of(), List.of());

  private final Backend backend;
  private final TrainingOps training;
  private final ModelConfig config;
  private final DecoderLayer decoder;
  private final Workspace.Buffers buffers;

  /**
   * Memory for gradients.
   *
   * @param output by what an expert returns, {@code [T, d]}
   * @param whitened no gradient, but the rows of an expert of the whitened input, {@code [T, d]}
   * @param channels by the channels of an expert, {@code [T, k]}
   */
  record Scratch(Tensor output, Tensor whitened, Tensor channels) {}

  ExpertGradient(
      Backend backend,
      TrainingOps training,
      ModelConfig config,
      DecoderLayer decoder,
      Workspace.Buffers buffers) {
    this.backend = backend;
    this.training = training;
    this.config = config;
    this.decoder = decoder;
    this.buffers = buffers;
  }

  /**
   * What goes in and out of a mixture, {@code [T, d]} each.
   *
   * @param input of the mixture
   * @param whitened the product of the input with a {@link DecoderGradient.Whitening}, in the place
   *     of the input in the gradients by the weights that multiply it; null where there is none
   * @param gradient by the sum of what the experts return; stays as it is
   * @param byInput gets the gradient by {@code input}
   */
  record States(Tensor input, @Nullable Tensor whitened, Tensor gradient, Tensor byInput) {
    /** The factor of the gradients by the weights that multiply the input. */
    private Tensor factor() {
      return whitened == null ? input : whitened;
    }
  }

  /**
   * Writes the gradient by the input of the mixture, and adds those by its weights.
   *
   * @param sums the gradients by the weights; where one is missing, it is not wanted
   */
  void run(LayerWeights weights, LayerWeights sums, States all, Scratch scratch) {
    Tensor input = all.input;
    Tensor byInput = all.byInput;
    Workspace.Experts room = buffers.experts();
    Mixture mixture = room.mixture();
    backend.linear(
        input, weights.get(LayerRole.ROUTER), weights.find(LayerRole.ROUTER_BIAS), room.logits());
    Routing routing = new Routing(backend, mixture, weights, room.logits());
    int tokens = Math.toIntExact(input.rows());
    // By the share that each token gives to each expert; 0 where it gives none.
    double[][] byShare = new double[tokens][mixture.experts()];
    backend.zero(byInput);
    for (int e = 0; e < mixture.experts(); e++) {
      int[] rows = routing.rows(e);
      if (rows.length > 0) {
        LayerWeights sum = sums.experts().isEmpty() ? NO_SUMS : sums.experts().get(e);
        Expert expert =
            config.expertsTransposed()
                ? new TransposedExpert(weights.experts().get(e), sum)
                : new GatedExpert(
                    weights.experts().get(e), sum, LayerRole.GATE, LayerRole.UP, LayerRole.DOWN);
        float[] products = expert(expert, rows, routing.shares(e), all, scratch);
        for (int i = 0; i < rows.length; i++) {
          byShare[rows[i]][e] = products[i];
        }
      }
    }
    router(weights, sums, all, routing, byShare);
    if (mixture.sharedWidth() > 0) {
      shared(weights, sums, all, scratch);
    }
  }

  /** The feed-forward network of one expert on its tokens, {@code [R, d]}. */
  private interface Expert {
    /**
     * Runs the network, and keeps what its gradients need.
     *
     * @param output gets what the network returns
     */
    void run(Tensor states, Tensor output);

    /**
     * Adds the gradients by the weights.
     *
     * @param factor the states, whitened where they are to be
     * @param byOutput by what the network returned
     * @param channels memory, {@code [R, k]}
     * @param byStates gets the gradient by the states
     */
    void differentiate(Tensor factor, Tensor byOutput, Tensor channels, Tensor byStates);
  }

  /** An expert of two matrices of channels, {@code activation(gate) * up}. */
  private final class GatedExpert implements Expert {
    private final LayerWeights sums;
    private final LayerRole gate;
    private final LayerRole up;
    private final LayerRole down;
    private final Tensor gateWeight;
    private final Tensor upWeight;
    private final Tensor downWeight;

    private GatedExpert(
        LayerWeights weights, LayerWeights sums, LayerRole gate, LayerRole up, LayerRole down) {
      this.sums = sums;
      this.gate = gate;
      this.up = up;
      this.down = down;
      gateWeight = weights.get(gate);
      upWeight = weights.get(up);
      downWeight = weights.get(down);
    }

    @Override
    public void run(Tensor states, Tensor output) {
      Tensor channels = channels(states.rows(), gateWeight.rows());
      decoder.expert(gateWeight, upWeight, downWeight, states, buffers, channels, output);
    }

    @Override
    public void differentiate(Tensor factor, Tensor byOutput, Tensor memory, Tensor byStates) {
      long rows = factor.rows();
      Tensor gates = buffers.gate(rows, gateWeight.rows());
      Tensor ups = buffers.up(rows, gateWeight.rows());
      Tensor by = Workspace.Buffers.narrow(memory, rows, gateWeight.rows());
      addProduct(byOutput, channels(rows, gateWeight.rows()), sums.find(down));
      training.linearGradient(byOutput, downWeight, false, by);
      training.gatedGradients(config.hiddenAct(), gates, ups, by);
      addProduct(gates, factor, sums.find(gate));
      addProduct(ups, factor, sums.find(up));
      training.linearGradient(gates, gateWeight, false, byStates);
      training.linearGradient(ups, upWeight, true, byStates);
    }
  }

  /**
   * An expert whose matrices have a row for each input: the gradient by an input is a plain product
   * with such a matrix, and that by the matrix has input and output in the other order.
   */
  private final class TransposedExpert implements Expert {
    private final LayerWeights weights;
    private final LayerWeights sums;
    private final int width;

    private TransposedExpert(LayerWeights weights, LayerWeights sums) {
      this.weights = weights;
      this.sums = sums;
      width = Math.toIntExact(weights.get(LayerRole.DOWN_TRANSPOSED).rows());
    }

    @Override
    public void run(Tensor states, Tensor output) {
      Tensor channels = channels(states.rows(), width);
      decoder.transposedExpert(weights, states, buffers, channels, output);
    }

    @Override
    public void differentiate(Tensor factor, Tensor byOutput, Tensor memory, Tensor byStates) {
      long rows = factor.rows();
      Tensor gateUp = buffers.experts().gateUp(rows);
      Tensor by = Workspace.Buffers.narrow(memory, rows, width);
      addProduct(channels(rows, width), byOutput, sums.find(LayerRole.DOWN_TRANSPOSED));
      addColumns(byOutput, sums.find(LayerRole.DOWN_BIAS));
      backend.linear(byOutput, weights.get(LayerRole.DOWN_TRANSPOSED), null, by);
      differentiateGate(gateUp, by);
      addProduct(factor, gateUp, sums.find(LayerRole.GATE_UP_TRANSPOSED));
      addColumns(gateUp, sums.find(LayerRole.GATE_UP_BIAS));
      backend.linear(gateUp, weights.get(LayerRole.GATE_UP_TRANSPOSED), null, byStates);
    }

    /** Makes the gradients by gate and up of these; {@code by} is that by the channels. */
    private void differentiateGate(Tensor gateUp, Tensor by) {
      ClampedGate clamped = buffers.experts().mixture().gate();
      if (clamped == null) {
        Tensor gates = buffers.gate(by.rows(), width);
        Tensor ups = buffers.up(by.rows(), width);
        training.gatedGradients(config.hiddenAct(), gates, ups, by);
        backend.copyColumns(gates, 0, width, gateUp, 0);
        backend.copyColumns(ups, 0, width, gateUp, width);
      } else {
        training.clampedGateGradients(gateUp, clamped, by);
      }
    }
  }

  private void addProduct(Tensor a, Tensor b, @Nullable Tensor sum) {
    if (sum != null) {
      backend.crossProduct(a, b, sum);
    }
  }

  private void addColumns(Tensor rows, @Nullable Tensor sum) {
    if (sum != null) {
      training.addColumns(rows, sum);
    }
  }

  /** Memory for the channels of an expert. */
  private Tensor channels(long rows, long width) {
    return Workspace.Buffers.narrow(buffers.channels(DType.F32), rows, width);
  }

  /**
   * The gradients of one expert on its tokens.
   *
   * @return for each of its tokens the gradient by the token's share
   */
  private float[] expert(Expert expert, int[] rows, float[] shares, States all, Scratch scratch) {
    Workspace.Experts room = buffers.experts();
    long count = rows.length;
    Tensor states = room.input().slice(0, count);
    Tensor output = room.output().slice(0, count);
    backend.gather(all.input, rows, states);
    expert.run(states, output);
    Tensor factor = states;
    if (all.whitened != null) {
      factor = scratch.whitened.slice(0, count);
      backend.gather(all.whitened, rows, factor);
    }

    Tensor byOutput = scratch.output.slice(0, count);
    backend.gather(all.gradient, rows, byOutput);
    Tensor column = room.sharedLogits().slice(0, count);
    training.rowProducts(byOutput, output, column);
    float[] products = new float[rows.length];
    backend.download(column, products);
    backend.upload(shares, column);
    backend.scaledDifference(byOutput, null, column, byOutput);

    expert.differentiate(factor, byOutput, scratch.channels, output);
    float[] ones = new float[rows.length];
    Arrays.fill(ones, 1);
    backend.addRows(all.byInput, rows, ones, output);
    return products;
  }

  /** The gradients of the router, through the softmax of its logits. */
  private void router(
      LayerWeights weights, LayerWeights sums, States all, Routing routing, double[][] byShare) {
    Tensor logits = buffers.experts().logits();
    float[] values = new float[Math.toIntExact(logits.elements())];
    backend.download(logits, values);
    backend.upload(routing.byLogits(values, byShare), logits);
    addProduct(logits, all.factor(), sums.find(LayerRole.ROUTER));
    addColumns(logits, sums.find(LayerRole.ROUTER_BIAS));
    training.linearGradient(logits, weights.get(LayerRole.ROUTER), true, all.byInput);
  }

  /** The gradients of the expert of all tokens, and of its router where it has one. */
  private void shared(LayerWeights weights, LayerWeights sums, States all, Scratch scratch) {
    Tensor router = weights.find(LayerRole.SHARED_ROUTER);
    Tensor logits = buffers.experts().sharedLogits();
    float[] shares = new float[Math.toIntExact(all.input.rows())];
    Arrays.fill(shares, 1);
    if (router != null) {
      backend.linear(all.input, router, null, logits);
      shares = Routing.sharedShares(backend, logits);
    }
    float[] products =
        expert(
            new GatedExpert(
                weights, sums, LayerRole.SHARED_GATE, LayerRole.SHARED_UP, LayerRole.SHARED_DOWN),
            IntStream.range(0, shares.length).toArray(),
            shares,
            all,
            scratch);
    if (router == null) {
      return;
    }
    for (int t = 0; t < shares.length; t++) {
      products[t] *= shares[t] * (1 - shares[t]);
    }
    backend.upload(products, logits);
    addProduct(logits, all.factor(), sums.find(LayerRole.SHARED_ROUTER));
    training.linearGradient(logits, router, true, all.byInput);
  }
}
