package dev.laco.transformer;

import dev.laco.backend.ForwardOps;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.LatentAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import java.util.Objects;

/**
 * Queries, keys and values of all heads from latent vectors ({@link LatentAttention}). Attention
 * computes with heads of one width, that of queries: values are followed by zeros up to it.
 */
final class LatentHeads {
  private final ForwardOps backend;
  private final ModelConfig config;
  private final LatentAttention sizes;

  LatentHeads(ForwardOps backend, ModelConfig config, LatentAttention sizes) {
    this.backend = backend;
    this.config = config;
    this.sizes = sizes;
  }

  /**
   * Computes {@code buffers.query} and the new keys and values.
   *
   * @param input of attention, {@code [T, d]}
   * @param queryTable of the angles of queries; {@code keyTable} likewise
   */
  void project(
      LayerWeights weights,
      Tensor input,
      int queryTable,
      int keyTable,
      TokenBatch batch,
      Workspace.Buffers buffers,
      KeyValues past) {
    Workspace.Latents room = buffers.latents();
    if (sizes.queryRank() == 0) {
      backend.linear(input, weights.get(LayerRole.QUERY), null, buffers.query);
    } else {
      Tensor latent = Objects.requireNonNull(room.query());
      Tensor normed = Objects.requireNonNull(room.normedQuery());
      backend.linear(input, weights.get(LayerRole.QUERY_COMPRESSION), null, latent);
      normalise(latent, weights.get(LayerRole.QUERY_LATENT_NORM), normed);
      backend.linear(normed, weights.get(LayerRole.QUERY_EXPANSION), null, buffers.query);
    }
    Tensor turned = takeRotated(buffers.query, room);
    rotate(turned, queryTable, batch);
    putRotated(turned, buffers.query);
    backend.linear(input, weights.get(LayerRole.KEY_VALUE_COMPRESSION), null, room.keyValue());
    backend.linear(input, weights.get(LayerRole.ROTATED_KEY), null, room.rotatedKey());
    normalise(room.keyValue(), weights.get(LayerRole.KEY_VALUE_LATENT_NORM), room.normedKeyValue());
    backend.linear(
        room.normedKeyValue(),
        weights.get(LayerRole.KEY_VALUE_EXPANSION),
        null,
        room.keysAndValues());
    rotate(room.rotatedKey(), keyTable, batch);
    Tensor both = heads(room.keysAndValues(), sizes.unrotated() + sizes.value());
    backend.copyColumns(both, 0, sizes.unrotated(), heads(past.newKeys()), 0);
    putRotated(room.rotatedKey(), past.newKeys());
    backend.copyColumns(both, sizes.unrotated(), sizes.value(), heads(past.newValues()), 0);
  }

  private void normalise(Tensor latent, Tensor weight, Tensor out) {
    backend.rmsNorm(latent, weight, config.latentNorm(), out);
  }

  private void rotate(Tensor heads, int table, TokenBatch batch) {
    backend.rope(heads, config.rotaryPairs(), sizes.rotated(), table, batch, heads);
  }

  /**
   * A copy of the rotated elements of each head, {@code [T, heads * rotated]}.
   *
   * @param wide queries or keys, {@code [T, heads * query]}
   */
  Tensor takeRotated(Tensor wide, Workspace.Latents room) {
    Tensor out = room.rotatedHeads();
    Tensor to = heads(out, sizes.rotated());
    backend.copyColumns(heads(wide), sizes.unrotated(), sizes.rotated(), to, 0);
    return out;
  }

  /**
   * Writes the rotated elements of each head.
   *
   * @param rotated {@code [T, heads * rotated]}; {@code [T, rotated]} where heads share them
   * @param wide queries or keys, {@code [T, heads * query]}
   */
  void putRotated(Tensor rotated, Tensor wide) {
    Tensor from = heads(rotated, sizes.rotated());
    backend.copyColumns(from, 0, sizes.rotated(), heads(wide), sizes.unrotated());
  }

  /**
   * Copies the outputs of heads without the zeros behind them, where there are any.
   *
   * @param wide {@code [T, heads * query]}
   * @param values {@code [T, heads * value]}
   */
  void narrow(Tensor wide, Tensor values) {
    if (sizes.hasNarrowValues()) {
      backend.copyColumns(heads(wide), 0, sizes.value(), heads(values, sizes.value()), 0);
    }
  }

  /** Copies gradients by outputs of heads the other way, with zeros behind each of them. */
  void widen(Tensor values, Tensor wide) {
    if (sizes.hasNarrowValues()) {
      backend.copyColumns(heads(values, sizes.value()), 0, sizes.value(), heads(wide), 0);
    }
  }

  /**
   * Puts gradients by keys and values together to that by the output of their expansion, {@code [T,
   * heads * (unrotated + value)]}.
   *
   * @param byKeys {@code [T, heads * query]}; {@code byValues} likewise
   */
  void join(Tensor byKeys, Tensor byValues, Tensor out) {
    Tensor both = heads(out, sizes.unrotated() + sizes.value());
    backend.copyColumns(heads(byKeys), 0, sizes.unrotated(), both, 0);
    backend.copyColumns(heads(byValues), 0, sizes.value(), both, sizes.unrotated());
  }

  private Tensor heads(Tensor tensor) {
    return heads(tensor, sizes.query());
  }

  private static Tensor heads(Tensor tensor, int width) {
    return tensor.reshape(tensor.elements() / width, width);
  }
}
