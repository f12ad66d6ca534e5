package dev.laco.transformer;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryEmbedding;
import dev.laco.model.TensorSource;
import org.jspecify.annotations.Nullable;

/**
 * The forward pass of a decoder-only language model: token embedding, pre-norm layers of rotary
 * attention and gated feed-forward, final norm, output projection.
 *
 * <p>Activations are f32 matrices of one row per token; {@code T} is the number of tokens of a
 * batch and {@code d} the hidden size.
 */
public final class CausalLm {
  private final Backend backend;
  private final ModelConfig config;
  private final TensorSource source;
  private final LayerStack layers;
  private final RotaryEmbedding rotary;

  /** A model of {@code layers} with the embedding, final norm and head of {@code source}. */
  public CausalLm(Backend backend, ModelConfig config, TensorSource source, LayerStack layers) {
    this.backend = backend;
    this.config = config;
    this.source = source;
    this.layers = layers;
    this.rotary = new RotaryEmbedding(config.rope(), config.headDim());
  }

  /** A checkpoint's own model. */
  public static CausalLm of(Backend backend, ModelConfig config, TensorSource source) {
    return new CausalLm(backend, config, source, new CheckpointLayers(backend, config, source));
  }

  public Backend backend() {
    return backend;
  }

  public ModelConfig config() {
    return config;
  }

  /** Number of layers. */
  public int depth() {
    return layers.depth();
  }

  /** Sequences with their rotary angles, ready for this model. */
  public TokenBatch batch(PackedSequences sequences) {
    float[] cosine = new float[sequences.size() * rotary.pairs()];
    float[] sine = new float[cosine.length];
    rotary.fill(sequences, cosine, sine);
    return backend.batch(sequences, cosine, sine);
  }

  /** {@code x [T, d]} becomes the token embeddings. */
  public void embed(TokenBatch batch, Tensor x) {
    backend.embed(backend.weight(source.tensor(config.architecture().embedding())), batch, x);
  }

  /** Runs layer {@code index} on {@code x [T, d]} in place. */
  public void layer(
      int index, Tensor x, TokenBatch batch, Workspace work, @Nullable KeyValueCache cache) {
    LayerWeights weights = layers.layer(index, x.rows());
    layer(index, weights, layers.slidingWindow(index), x, batch, work, cache);
  }

  /** Runs a layer of these weights on {@code x [T, d]} in place, whatever model it is of. */
  public void layer(
      LayerWeights weights, int slidingWindow, Tensor x, TokenBatch batch, Workspace work) {
    layer(0, weights, slidingWindow, x, batch, work, null);
  }

  private void layer(
      int index,
      LayerWeights weights,
      int slidingWindow,
      Tensor x,
      TokenBatch batch,
      Workspace work,
      @Nullable KeyValueCache cache) {
    Workspace.Buffers buffers = work.forTokens(x.rows());
    attention(index, weights, slidingWindow, x, batch, buffers, cache);
    feedForward(weights, x, buffers);
  }

  /** Leaves the output of attention in {@code buffers.normed()}. */
  private void attention(
      int index,
      LayerWeights weights,
      int slidingWindow,
      Tensor x,
      TokenBatch batch,
      Workspace.Buffers buffers,
      @Nullable KeyValueCache cache) {
    Tensor normed = buffers.normed();
    Tensor query = buffers.query();
    Tensor key = cache == null ? buffers.key() : cache.newKeys(index, x.rows());
    Tensor value = cache == null ? buffers.value() : cache.newValues(index, x.rows());
    backend.rmsNorm(x, weights.get(LayerRole.INPUT_NORM), config.rmsNormEps(), normed);
    backend.linear(normed, weights.get(LayerRole.QUERY), weights.find(LayerRole.QUERY_BIAS), query);
    backend.linear(normed, weights.get(LayerRole.KEY), weights.find(LayerRole.KEY_BIAS), key);
    backend.linear(normed, weights.get(LayerRole.VALUE), weights.find(LayerRole.VALUE_BIAS), value);
    normRope(query, weights.find(LayerRole.QUERY_NORM), batch);
    normRope(key, weights.find(LayerRole.KEY_NORM), batch);
    AttentionSpec spec =
        new AttentionSpec(
            config.numAttentionHeads(),
            config.numKeyValueHeads(),
            config.headDim(),
            slidingWindow,
            (float) (1 / Math.sqrt(config.headDim())));
    Tensor allKeys = cache == null ? key : cache.allKeys(index, x.rows());
    Tensor allValues = cache == null ? value : cache.allValues(index, x.rows());
    backend.attention(query, allKeys, allValues, spec, batch, buffers.attended());
    backend.linear(
        buffers.attended(),
        weights.get(LayerRole.OUTPUT),
        weights.find(LayerRole.OUTPUT_BIAS),
        normed);
  }

  private void normRope(Tensor heads, @Nullable Tensor weight, TokenBatch batch) {
    backend.normRope(heads, weight, config.rmsNormEps(), config.headDim(), batch);
  }

  /** Adds what attention left in {@code normed}, then the feed-forward part. */
  private void feedForward(LayerWeights weights, Tensor x, Workspace.Buffers buffers) {
    Tensor normed = buffers.normed();
    backend.addRmsNorm(
        x, normed, weights.get(LayerRole.POST_ATTENTION_NORM), config.rmsNormEps(), normed);
    backend.linear(
        normed, weights.get(LayerRole.GATE), weights.find(LayerRole.GATE_BIAS), buffers.gate());
    backend.linear(
        normed, weights.get(LayerRole.UP), weights.find(LayerRole.UP_BIAS), buffers.up());
    backend.gatedActivation(config.hiddenAct(), buffers.gate(), buffers.up(), buffers.gate());
    backend.linear(
        buffers.gate(), weights.get(LayerRole.DOWN), weights.find(LayerRole.DOWN_BIAS), normed);
    backend.add(x, normed);
  }

  /**
   * Runs layers {@code from} to the last on {@code x} in place, then writes the normed states to
   * {@code out}.
   */
  public void finish(int from, Tensor x, TokenBatch batch, Workspace work, Tensor out) {
    for (int index = from; index < depth(); index++) {
      layer(index, x, batch, work, null);
    }
    finalNorm(x, out);
  }

  /** {@code out = norm(x)}, the last hidden states. */
  public void finalNorm(Tensor x, Tensor out) {
    Tensor weight = backend.weight(source.tensor(config.architecture().finalNorm()));
    backend.rmsNorm(x, weight, config.rmsNormEps(), out);
  }

  /** The output projection, {@code [V, d]}: the embedding where they are tied. */
  public Tensor head() {
    String name =
        config.tieWordEmbeddings()
            ? config.architecture().embedding()
            : config.architecture().head();
    return backend.weight(source.tensor(name));
  }
}
