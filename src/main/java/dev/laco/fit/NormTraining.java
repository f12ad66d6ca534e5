package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerPart;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorSpec;
import dev.laco.report.FitReport;
import dev.laco.text.FitText;
import dev.laco.training.LabelShare;
import dev.laco.training.StudentPass;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RateSchedule;
import dev.laco.transformer.TrainedTensor;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.DoubleConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Trains the weights of the norms of a fitted model, from the first fitted layer on and the final
 * norm's included, while all matrices stay as they are (Zhao et al. 2023, "Tuning LayerNorm in
 * Attention", arXiv 2312.11420). Gradients go through all of these layers, of the loss of {@link
 * LabelShare}: the divergence from the original's predictions with a share of the text's own next
 * tokens. The text is one that the layers were not fitted to.
 *
 * <p>Steps are those of AdamW on 256 tokens each, in one pass over the text. The learning rate of a
 * norm is in proportion to the root mean square of the factors by which the norm multiplies.
 */
final class NormTraining implements AutoCloseable {
  /** The peak of the learning rate, relative to a norm's factors. */
  private static final double RATE = 0.005;

  /** Tokens on which the loss is measured before and after, and from which nothing is learnt. */
  private static final int JUDGED = 1024;

  /** Tokens of the fit text for one of the norms. */
  private static final int FITTED = 8;

  /** The fewest tokens that are worth a training. */
  private static final int LEAST = 4096;

  /** Passes of a layer behind the first gap over a token: one forward and one backward. */
  private static final int LAYER_PASSES = 2;

  /** Products of a token with the head: both models' logits, and the gradient of one. */
  private static final int HEAD_PASSES = 3;

  /** The share of labels in the loss. */
  private static final double LABELS = LabelShare.of(null).share();

  private final Backend backend;
  private final ModelConfig config;
  private final Streams streams;
  private final List<FitBlocks.Block> steps;
  private final TensorArena arena;
  private final StudentPass pass;

  /** A norm that is trained. */
  private record Norm(TrainedTensor tensor, double size) {}

  /** The norms that are trained, the final one at last. */
  private final List<Norm> norms = new ArrayList<>();

  /**
   * Copies the norms, and allocates buffers for one step. The pruned stream of the further text
   * holds the input of a layer, the original's stream its last hidden states, after the final norm.
   *
   * @param layers the pruned model with its fitted tensors
   * @param first the layer whose input the pruned stream holds, the first whose norms are trained
   */
  NormTraining(Workbench bench, PlannedLayers layers, int first) {
    backend = bench.backend();
    config = bench.config();
    streams = bench.streams();
    steps = bench.blocks().furtherSteps();
    arena = backend.arena();
    WithNorms trained = new WithNorms(layers, first);
    pass =
        new StudentPass(
            layers.model(), trained, first, layers.depth() - first, FitBlocks.most(steps));
  }

  /** The tokens of the norms behind a fit on so many tokens; 0 where they are too few. */
  static int tokens(int fitted) {
    int tokens = fitted / FITTED;
    return tokens < LEAST ? 0 : tokens;
  }

  /** Bytes of memory. */
  static long bytes(Backend backend, ModelConfig config, List<FitText.Chunk> chunks) {
    if (chunks.isEmpty() || backend.missingForTraining() != null) {
      return 0;
    }
    int layers = config.numHiddenLayers();
    int step = FitBlocks.largestFurtherStep(chunks);
    return StudentPass.bytes(config, step, layers, layers)
        + backend.training().scratchBytes(step, config.vocabSize());
  }

  /**
   * The time of the training, the original's passes over the further text included.
   *
   * @param tokens of the further text
   * @param layers of the pruned model whose norms are trained
   * @param layer the time of one token in one layer
   * @param head the time of one token in the head
   */
  static double time(ModelConfig config, double tokens, double layers, double layer, double head) {
    return tokens
        * ((config.numHiddenLayers() + LAYER_PASSES * layers) * layer + HEAD_PASSES * head);
  }

  /** The same in forward passes of a layer over all tokens of the fit text. */
  static double passes(ModelConfig config, double layers) {
    double head =
        (double) config.vocabSize()
            * config.hiddenSize()
            / config.activeParameters(config.numHiddenLayers() - 1);
    return time(config, 1.0 / FITTED, layers, 1, head);
  }

  /**
   * The new weights of the norms.
   *
   * @param tensors as they are written; none where the loss did not become smaller
   */
  record Result(List<HostTensor> tensors, FitReport.@Nullable Norms report) {
    /** The norms were not trained. */
    static final Result NOTHING = new Result(List.of(), null);

    Result {
      tensors = List.copyOf(tensors);
    }
  }

  /**
   * Trains the norms.
   *
   * @param memory in which the new weights are allocated
   * @param progress is told after each step which share is done
   */
  Result run(SegmentAllocator memory, DoubleConsumer progress) {
    List<FitBlocks.Block> judged = FitBlocks.beginning(steps, JUDGED);
    List<FitBlocks.Block> learnt = steps.subList(judged.size(), steps.size());
    double before = loss(judged);
    for (int number = 1; number <= learnt.size(); number++) {
      FitBlocks.Block step = learnt.get(number - 1);
      pass.train(begun(step), streams.dense(step), LABELS, 1.0 / step.tokens());
      // In the middle of the step: no step is one of no change.
      double rate = RATE * RateSchedule.share((number - 0.5) / learnt.size());
      List<TrainedTensor.Step> taken = new ArrayList<>();
      for (Norm norm : norms) {
        TrainingOps.AdamW numbers = Reconstruction.step(number, rate * norm.size);
        taken.add(new TrainedTensor.Step(norm.tensor, numbers));
      }
      TrainedTensor.take(backend.training(), taken);
      progress.accept((double) number / learnt.size());
    }
    double after = loss(judged);
    return new Result(
        after < before ? stored(memory) : List.of(),
        new FitReport.Norms(FitBlocks.tokens(learnt), before, after));
  }

  private List<HostTensor> stored(SegmentAllocator memory) {
    List<HostTensor> stored = new ArrayList<>();
    for (Norm norm : norms) {
      TrainedTensor tensor = norm.tensor;
      HostTensor to =
          HostTensor.allocate(memory, tensor.name(), tensor.weight().dtype(), tensor.shape());
      tensor.save(backend, to);
      stored.add(to);
    }
    return stored;
  }

  /** Brings in the hidden states in front of the first layer. */
  private TokenBatch begun(FitBlocks.Block step) {
    backend.copy(streams.pruned(step), pass.input(step.tokens()));
    return step.batch();
  }

  /** The mean loss of all tokens of some steps. */
  private double loss(List<FitBlocks.Block> judged) {
    double sum = 0;
    for (FitBlocks.Block step : judged) {
      sum += pass.loss(begun(step), streams.dense(step), LABELS);
    }
    return sum / FitBlocks.tokens(judged);
  }

  private TrainedTensor trained(String name, List<Long> shape, Tensor start, double offset) {
    TrainedTensor tensor =
        TrainedTensor.zeros(
            arena, name, shape, start.dtype(), start.rows(), start.columns(), AdamWState.FULL);
    tensor.set(backend, start);
    norms.add(
        new Norm(
            tensor,
            Values.rootMeanSquare(backend, Objects.requireNonNull(tensor.master()), offset)));
    return tensor;
  }

  /** The pruned model's layers with the norms that are trained. */
  private final class WithNorms implements StudentPass.Layers {
    private final PlannedLayers layers;
    private final int first;
    private final List<Map<TensorSpec, Tensor>> weights = new ArrayList<>();
    private final List<LayerWeights> gradients = new ArrayList<>();
    private final StudentPass.FinalNorm finalNorm;

    private WithNorms(PlannedLayers layers, int first) {
      this.layers = layers;
      this.first = first;
      for (int index = first; index < layers.depth(); index++) {
        addNorms(index);
      }
      HostTensor last = outside(config.architecture().finalNorm());
      TrainedTensor norm =
          trained(
              last.name(), last.shape(), layers.model().finalNormWeight(), config.norm().offset());
      finalNorm =
          new StudentPass.FinalNorm(
              norm.weight(),
              norm.gradient(),
              config.architecture().finalNormBias().map(name -> copy(outside(name))).orElse(null),
              null);
    }

    private HostTensor outside(String name) {
      return layers.outside().weights().tensor(name);
    }

    private Tensor copy(HostTensor tensor) {
      Tensor stored = backend.weight(tensor);
      Tensor copy = arena.allocate(stored.dtype(), stored.rows(), stored.columns());
      backend.copy(stored, copy);
      return copy;
    }

    private void addNorms(int index) {
      Map<TensorSpec, Tensor> own = new HashMap<>();
      Map<LayerPart, Tensor> byWeights = new HashMap<>();
      layers.tensors(index, Integer.MAX_VALUE).entrySet().stream()
          .sorted(Comparator.comparing(stored -> stored.getKey().suffix()))
          .forEach(
              stored -> {
                TensorSpec spec = stored.getKey();
                LayerPart part = spec.parts().getFirst().layerPart();
                if (part.role().isNorm()) {
                  String name = config.architecture().tensorName(index, spec);
                  double offset = config.normOffset(part.role());
                  TrainedTensor norm = trained(name, spec.shape(), stored.getValue(), offset);
                  own.put(spec, norm.weight());
                  byWeights.put(part, norm.gradient());
                }
              });
      weights.add(own);
      gradients.add(LayerWeights.ofParts(byWeights));
    }

    @Override
    public int depth() {
      return layers.depth();
    }

    @Override
    public Map<TensorSpec, Tensor> tensors(int index, long tokens) {
      Map<TensorSpec, Tensor> tensors = new HashMap<>(layers.tensors(index, tokens));
      if (index >= first) {
        tensors.putAll(weights.get(index - first));
      }
      return tensors;
    }

    @Override
    public LayerAttention attention(int index) {
      return layers.attention(index);
    }

    @Override
    public StudentPass.FinalNorm finalNorm() {
      return finalNorm;
    }

    @Override
    public LayerWeights gradients(int index) {
      return gradients.get(index - first);
    }
  }

  @Override
  public void close() {
    arena.close();
    pass.close();
  }
}
