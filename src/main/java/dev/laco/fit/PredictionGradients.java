package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TrainingOps;
import dev.laco.collapse.BlockSettings.Block;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.DecoderGradient;
import dev.laco.transformer.LayerWeights;
import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The gradients of the original's negative log-likelihood of a text by its hidden states in front
 * of every layer. Their second moments are the empirical Fisher information of these states (Amari
 * 1998; Martens 2020, "New Insights and Perspectives on the Natural Gradient Method", section 11,
 * <a href="https://arxiv.org/abs/1412.1193">arXiv 1412.1193</a>), which tells how far the
 * predictions move when the states change.
 */
final class PredictionGradients implements Predictions {
  private final Backend backend;
  private final CausalLm model;
  private final CheckpointLayers layers;
  private final List<FitBlocks.Block> blocks;
  private final DecoderGradient decoder;
  private final TensorArena arena;

  /**
   * In front of each layer, and behind the last: the hidden states, until the gradients by them
   * take their place, {@code [T, d]}.
   */
  private final List<Tensor> byLayer = new ArrayList<>();

  private final List<Float> scales = new ArrayList<>();
  private final Tensor last;
  private final Tensor gradient;
  private final Tensor products;

  /**
   * Allocates memory.
   *
   * @param blocks of the text, in consecutive rows
   */
  PredictionGradients(CausalLm model, CheckpointLayers layers, List<FitBlocks.Block> blocks) {
    this.backend = model.backend();
    this.model = model;
    this.layers = layers;
    this.blocks = blocks;
    ModelConfig config = model.config();
    int largest = FitBlocks.most(blocks);
    decoder = new DecoderGradient(backend, config, largest, 1);
    arena = backend.arena();
    for (int index = 0; index <= layers.depth(); index++) {
      byLayer.add(arena.allocate(DType.F32, FitBlocks.tokens(blocks), config.hiddenSize()));
    }
    last = arena.allocate(DType.F32, largest, config.hiddenSize());
    gradient = arena.allocate(DType.F32, largest, config.hiddenSize());
    products = arena.allocate(DType.F32, FitBlocks.tokens(blocks), 1);
  }

  /** Bytes of memory for a text of so many tokens. */
  static long bytes(Backend backend, ModelConfig config, long tokens) {
    long states = (config.numHiddenLayers() + 3L) * tokens * config.hiddenSize();
    return DecoderGradient.bytes(config, tokens, 1)
        + backend.training().scratchBytes(tokens, config.vocabSize())
        + (states + tokens) * DType.F32.byteSize();
  }

  /** Runs the original forward and backward. */
  @Override
  public void compute(int least) {
    for (FitBlocks.Block block : blocks) {
      model.embed(block.batch(), at(0, block));
    }
    for (int index = 0; index < layers.depth(); index++) {
      LayerWeights weights = layer(index);
      for (FitBlocks.Block block : blocks) {
        forward(index, weights, block, at(index + 1, block));
      }
    }
    for (Tensor states : byLayer) {
      scales.add(Values.medianInverseRms(backend, states));
    }
    for (FitBlocks.Block block : blocks) {
      byFinalStates(block);
    }
    for (int index = layers.depth() - 1; index >= least; index--) {
      LayerWeights weights = layer(index);
      for (FitBlocks.Block block : blocks) {
        Tensor by = gradient.slice(0, block.tokens());
        backend.copy(at(index + 1, block), by);
        decoder.backward(forward(index, weights, block, null), weights, by);
        backend.copy(by, at(index, block));
      }
    }
  }

  private DecoderGradient.Results forward(
      int index, LayerWeights weights, FitBlocks.Block block, @Nullable Tensor output) {
    LayerAttention attention = layers.attention(index);
    return decoder.forward(0, weights, attention, at(index, block), block.batch(), output);
  }

  /** Puts the gradient of the negative log-likelihood in the place of the last hidden states. */
  private void byFinalStates(FitBlocks.Block block) {
    TrainingOps training = backend.training();
    Tensor states = at(layers.depth(), block);
    Tensor hidden = last.slice(0, block.tokens());
    Tensor by = gradient.slice(0, block.tokens());
    model.finalNorm(states, hidden);
    training.distillationLoss(
        hidden, hidden, model.head(), block.batch(), 1, 1, new double[block.tokens()], by);
    decoder.finalNorm(states, model.finalNormWeight(), by);
    backend.copy(by, states);
  }

  private LayerWeights layer(int index) {
    return layers.layer(index, last.rows());
  }

  private Tensor at(int index, FitBlocks.Block block) {
    return block.rows(byLayer.get(index), blocks.getFirst());
  }

  @Override
  public float scale(int index) {
    return scales.get(index);
  }

  /** What each token's prediction loses to second order: the mean of {@code (g_t . e_t)^2 / 2}. */
  @Override
  public DoubleSupplier divergence(
      Block removed, Tensor change, Tensor states, double unexplained) {
    backend.training().rowProducts(byLayer.get(removed.to()), change, products);
    double lost = Values.sumOfSquares(backend, products) / 2 / products.rows();
    return () -> lost;
  }

  @Override
  public void close() {
    decoder.close();
    arena.close();
  }
}
