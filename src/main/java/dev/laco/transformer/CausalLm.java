package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Head;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryEmbedding;
import dev.laco.model.TensorSource;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The forward pass of a decoder-only language model: token embedding, layers as {@link
 * DecoderLayer} runs them, final norm, output projection.
 *
 * <p>Activations are f32 matrices of one row per token; {@code T} is the number of tokens of a
 * batch and {@code d} the hidden size.
 */
public final class CausalLm {
  private final Backend backend;
  private final ModelConfig config;
  private final TensorSource source;
  private final LayerStack layers;
  private final List<RotaryEmbedding> rotary;
  private final DecoderLayer decoder;

  /** A model of {@code layers} with the embedding, final norm and head of {@code outside}. */
  public CausalLm(RunningModel outside, LayerStack layers) {
    this.backend = outside.backend();
    this.config = outside.config();
    this.source = outside.weights();
    this.layers = layers;
    this.rotary =
        config.rotations().stream()
            .map(rotation -> new RotaryEmbedding(rotation, rotation.rotated(config.rotaryDim())))
            .toList();
    this.decoder = new DecoderLayer(backend, config);
  }

  /** The device that computes. */
  public Backend backend() {
    return backend;
  }

  /** The original's config. */
  public ModelConfig config() {
    return config;
  }

  /** Number of layers. */
  public int depth() {
    return layers.depth();
  }

  /** Puts sequences, with their rotary angles, into the memory of the model's device. */
  public TokenBatch batch(PackedSequences sequences) {
    int table = sequences.size() * (rotary.isEmpty() ? 0 : rotary.getFirst().pairs());
    float[] cosine = new float[rotary.size() * table];
    float[] sine = new float[cosine.length];
    for (int i = 0; i < rotary.size(); i++) {
      rotary.get(i).fill(sequences, cosine, sine, i * table);
    }
    return backend.batch(sequences, rotary.size(), cosine, sine);
  }

  /** Writes the token embeddings to {@code x [T, d]}. */
  public void embed(TokenBatch batch, Tensor x) {
    source.release();
    Tensor table = backend.weight(source.tensor(config.architecture().embedding()));
    backend.embed(table, batch, config.streamScale(), x);
  }

  /**
   * Runs the whole model and writes the last hidden states, after the final norm, to {@code states
   * [T, d]}.
   */
  public void run(TokenBatch batch, Tensor states, Workspace work) {
    embed(batch, states);
    finish(0, states, batch, work, states);
  }

  /**
   * Runs layer {@code index} on {@code x [T, d]} in place.
   *
   * @param cache the keys and values of earlier tokens, to which those of the batch are added; null
   *     where the batch has whole sequences
   */
  public void layer(
      int index, Tensor x, TokenBatch batch, Workspace work, @Nullable KeyValueCache cache) {
    LayerWeights weights = layers.layer(index, x.rows());
    Workspace.Buffers buffers = work.forTokens(x.rows());
    KeyValueCache.OfLayer past = cache == null ? null : cache.of(index);
    decoder.run(weights, layers.attention(index), x, batch, buffers, past, null);
  }

  /**
   * Runs layer {@code index} over whole sequences, {@code x [T, d]} in place.
   *
   * @param inside gets the residual stream between attention and feed-forward part, {@code [T, d]}
   */
  public void layerInParts(int index, Tensor x, TokenBatch batch, Workspace work, Tensor inside) {
    LayerWeights weights = layers.layer(index, x.rows());
    Workspace.Buffers buffers = work.forTokens(x.rows());
    decoder.run(weights, layers.attention(index), x, batch, buffers, null, inside);
  }

  /**
   * Runs layers {@code from} to the last on {@code x [T, d]} in place, then writes the output of
   * the final norm to {@code out [T, d]}.
   */
  public void finish(int from, Tensor x, TokenBatch batch, Workspace work, Tensor out) {
    for (int index = from; index < depth(); index++) {
      layer(index, x, batch, work, null);
    }
    finalNorm(x, out);
  }

  /** Copies the row of the last token of each sequence, {@code x [T, d]} to {@code out [S, d]}. */
  public void lastOfEach(TokenBatch batch, Tensor x, Tensor out) {
    int[] offsets = batch.sequences().offsets();
    int[] rows = new int[Math.toIntExact(out.rows())];
    Arrays.setAll(rows, i -> offsets[i + 1] - 1);
    backend.gather(x, rows, out);
  }

  /** Applies the final norm: writes the last hidden states to {@code out [T, d]}. */
  public void finalNorm(Tensor x, Tensor out) {
    source.release();
    Tensor bias =
        config
            .architecture()
            .finalNormBias()
            .map(name -> backend.weight(source.tensor(name)))
            .orElse(null);
    decoder.normalise(finalNormWeight(), bias, x, out);
  }

  /** The weight of the final norm. */
  public Tensor finalNormWeight() {
    return backend.weight(source.tensor(config.architecture().finalNorm()));
  }

  /**
   * Must be called before a result is used: checks that all weights were read intact, and lets the
   * memory of those that are no longer needed go.
   *
   * @throws dev.laco.BadInputException if a weight file was cut short while it was read
   */
  public void release() {
    source.release();
  }

  /** Writes the logits of last hidden states {@code [R, d]} to {@code out [R, V]}. */
  public void logits(Tensor hidden, Tensor out) {
    backend.logits(hidden, head(), out);
  }

  /** The output projection; its weight is the embedding if the config ties the two. */
  public Head head() {
    return new Head(
        backend.weight(source.tensor(config.head())), config.unitHead(), config.logits());
  }
}
