package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TrainingOps;
import dev.laco.model.LayerRole;
import dev.laco.model.Mixture;
import dev.laco.model.ModelConfig;
import java.util.Arrays;
import java.util.stream.IntStream;

/**
 * The gradients of a mixture of experts. The choice of experts has none: it changes in steps. Each
 * expert's forward pass is run once more, on the tokens that were given to it.
 */
final class ExpertGradient {
  private final Backend backend;
  private final TrainingOps training;
  private final ModelConfig config;
  private final Workspace.Buffers buffers;

  /**
   * Memory for gradients.
   *
   * @param output by what an expert returns, {@code [T, d]}
   * @param channels by the channels of an expert, {@code [T, k]}
   */
  record Scratch(Tensor output, Tensor channels) {}

  ExpertGradient(
      Backend backend, TrainingOps training, ModelConfig config, Workspace.Buffers buffers) {
    this.backend = backend;
    this.training = training;
    this.config = config;
    this.buffers = buffers;
  }

  /**
   * Writes the gradient by the input of the mixture, and adds those by its weights.
   *
   * @param input of the mixture, {@code [T, d]}
   * @param gradient by the sum of what the experts return, {@code [T, d]}; stays as it is
   * @param byInput gets the gradient by {@code input}
   */
  void run(
      LayerWeights weights,
      LayerWeights sums,
      Tensor input,
      Tensor gradient,
      Tensor byInput,
      Scratch scratch) {
    Workspace.Experts room = buffers.experts();
    Mixture mixture = room.mixture();
    backend.linear(input, weights.get(LayerRole.ROUTER), null, room.logits());
    Routing routing = new Routing(backend, mixture, room.logits());
    int tokens = Math.toIntExact(input.rows());
    // By the share that each token gives to each expert; 0 where it gives none.
    double[][] byShare = new double[tokens][mixture.experts()];
    backend.upload(new float[Math.toIntExact(byInput.elements())], byInput);
    for (int e = 0; e < mixture.experts(); e++) {
      int[] rows = routing.rows(e);
      if (rows.length > 0) {
        float[] products =
            expert(
                new Expert(
                    weights.experts().get(e),
                    sums.experts().get(e),
                    LayerRole.GATE,
                    LayerRole.UP,
                    LayerRole.DOWN),
                rows,
                routing.shares(e),
                input,
                gradient,
                byInput,
                scratch);
        for (int i = 0; i < rows.length; i++) {
          byShare[rows[i]][e] = products[i];
        }
      }
    }
    router(weights, sums, input, byInput, routing, byShare);
    if (mixture.sharedWidth() > 0) {
      shared(weights, sums, input, gradient, byInput, scratch);
    }
  }

  /** The weights of one expert, and their gradients. */
  private record Expert(
      LayerWeights weights, LayerWeights sums, LayerRole gate, LayerRole up, LayerRole down) {}

  /**
   * The gradients of one expert on its tokens.
   *
   * @return for each of its tokens the gradient by the token's share
   */
  private float[] expert(
      Expert expert,
      int[] rows,
      float[] shares,
      Tensor input,
      Tensor gradient,
      Tensor byInput,
      Scratch scratch) {
    Workspace.Experts room = buffers.experts();
    long count = rows.length;
    Tensor gateWeight = expert.weights.get(expert.gate);
    Tensor upWeight = expert.weights.get(expert.up);
    Tensor downWeight = expert.weights.get(expert.down);
    Tensor states = room.input().slice(0, count);
    Tensor gates = buffers.gate(count, gateWeight.rows());
    Tensor ups = buffers.up(count, gateWeight.rows());
    Tensor channels = Workspace.Buffers.narrow(buffers.channels.values(), count, gateWeight.rows());
    Tensor output = room.output().slice(0, count);
    backend.gather(input, rows, states);
    backend.linear(states, gateWeight, null, gates);
    backend.linear(states, upWeight, null, ups);
    backend.gatedActivation(config.hiddenAct(), gates, ups, channels);
    backend.linear(channels, downWeight, null, output);

    Tensor byOutput = scratch.output.slice(0, count);
    backend.gather(gradient, rows, byOutput);
    Tensor column = room.sharedLogits().slice(0, count);
    training.rowProducts(byOutput, output, column);
    float[] products = new float[rows.length];
    backend.download(column, products);
    backend.upload(shares, column);
    backend.scaledDifference(byOutput, null, column, byOutput);

    backend.crossProduct(byOutput, channels, expert.sums.get(expert.down));
    Tensor by = Workspace.Buffers.narrow(scratch.channels, count, gateWeight.rows());
    training.linearGradient(byOutput, downWeight, false, by);
    training.gatedGradients(config.hiddenAct(), gates, ups, by);
    backend.crossProduct(gates, states, expert.sums.get(expert.gate));
    backend.crossProduct(ups, states, expert.sums.get(expert.up));
    training.linearGradient(gates, gateWeight, false, output);
    training.linearGradient(ups, upWeight, true, output);
    float[] ones = new float[rows.length];
    Arrays.fill(ones, 1);
    backend.addRows(byInput, rows, ones, output);
    return products;
  }

  /** The gradients of the router, through the softmax of its logits. */
  private void router(
      LayerWeights weights,
      LayerWeights sums,
      Tensor input,
      Tensor byInput,
      Routing routing,
      double[][] byShare) {
    Tensor logits = buffers.experts().logits();
    float[] values = new float[Math.toIntExact(logits.elements())];
    backend.download(logits, values);
    backend.upload(routing.byLogits(values, byShare), logits);
    backend.crossProduct(logits, input, sums.get(LayerRole.ROUTER));
    training.linearGradient(logits, weights.get(LayerRole.ROUTER), true, byInput);
  }

  /** The gradients of the expert of all tokens, and of its router. */
  private void shared(
      LayerWeights weights,
      LayerWeights sums,
      Tensor input,
      Tensor gradient,
      Tensor byInput,
      Scratch scratch) {
    Tensor logits = buffers.experts().sharedLogits();
    backend.linear(input, weights.get(LayerRole.SHARED_ROUTER), null, logits);
    float[] shares = Routing.sharedShares(backend, logits);
    float[] products =
        expert(
            new Expert(
                weights, sums, LayerRole.SHARED_GATE, LayerRole.SHARED_UP, LayerRole.SHARED_DOWN),
            IntStream.range(0, shares.length).toArray(),
            shares,
            input,
            gradient,
            byInput,
            scratch);
    for (int t = 0; t < shares.length; t++) {
      products[t] *= shares[t] * (1 - shares[t]);
    }
    backend.upload(products, logits);
    backend.crossProduct(logits, input, sums.get(LayerRole.SHARED_ROUTER));
    training.linearGradient(logits, weights.get(LayerRole.SHARED_ROUTER), true, byInput);
  }
}
