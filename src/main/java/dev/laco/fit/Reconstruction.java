package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TrainingOps;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerPart;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.DecoderGradient;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.RateSchedule;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.IntStream;

/**
 * Block reconstruction: all tensors of one layer of the pruned model move together by mini-batches,
 * so that the layer turns its input into the original's hidden states behind the same place.
 * Gradients do not leave the layer. For the layer's output {@code y_t} and the original's hidden
 * state {@code h_t} at token {@code t} the loss is
 *
 * <pre>  sum_t w_t sum_i c_i (h_ti - y_ti)^2,   w_t = 1 / mean_i(h_ti^2),
 *   e_i = sum_t w_t h_ti^2,   c_i = 1 / (e_i / mean(e) + 1)</pre>
 *
 * <p>Without {@code c_i} the loss of some models would be that of a single channel: in Gemma 3 one
 * of 640 has nearly all of the energy of hidden states.
 *
 * <p>Inputs of a layer vary far more in some directions than in others, and the gradient of a
 * matrix is large in these. So the gradient {@code G [n, d]} of a matrix behind a norm, whose
 * inputs are {@code x}, is first multiplied by the inverse of their second moments, as in K-FAC
 * (Martens and Grosse 2015, arXiv 1503.05671): {@code G (mean(x x^T) + 0.1 m I)^-1}, where {@code
 * m} is the mean of the diagonal.
 *
 * <p>Steps are those of AdamW with two changes, so that one rate suits all tensors of a layer. The
 * rate of a tensor is in proportion to the root mean square of its elements. What AdamW adds to the
 * root of a running square is in proportion to the root mean square of the tensor's gradient:
 * elements with small gradients move little, as by a step down the gradient.
 */
final class Reconstruction implements AutoCloseable {
  /** A text of fewer tokens is seen twice, a longer one once. */
  private static final int LONG = 65_536;

  /** The share of the layers that gain enough by a text that is seen once. */
  private static final double GAINING = 0.6;

  /** The time of a step, in forward passes of the layer over its tokens. */
  private static final double STEP_PASSES = 4;

  /**
   * The largest change of an element in a step, relative to the root mean square of the tensor's
   * elements, of a layer that sees as many tokens as it has parameters. The change grows as the
   * cube root of the tokens for each parameter: the fewer they are, the sooner the noise of steps
   * does harm.
   */
  private static final double RATE = 0.15;

  /** The largest such change of any layer. */
  private static final double MOST_RATE = 0.1;

  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.95;

  /** What is added to the root of a running square, relative to the root of the tensor's mean. */
  private static final double DAMPING = 3;

  /** The least that is added: for a gradient of zeros. */
  private static final double EPSILON = 1e-12;

  /** Tokens on which a layer's error is measured before and after training. */
  private static final int JUDGED = 4096;

  /** Share of the mean second moment of an input that is added to each before they are inverted. */
  private static final double LEAST = 0.1;

  /** Share of the channels' mean energy that is added to the energy of each. */
  private static final double FLOOR = 1;

  /**
   * A tensor of a layer, and what AdamW holds of it.
   *
   * @param weight as the layer uses it
   * @param master the weight in f32
   * @param gradient f32
   * @param mean running mean of gradients, f32
   * @param square running mean of their squares, f32
   */
  private record Trained(
      Tensor weight, Tensor master, Tensor gradient, Tensor mean, Tensor square) {
    /** Bytes of f32 that each element has beside its weight. */
    static final int BYTES = 4 * Float.BYTES;

    /** A copy of a tensor. */
    static Trained of(Backend backend, TensorArena arena, Tensor start) {
      long rows = start.rows();
      long columns = start.columns();
      Tensor weight = arena.allocate(start.dtype(), rows, columns);
      backend.copy(start, weight);
      Tensor master = arena.allocate(DType.F32, rows, columns);
      backend.mix(List.of(new TensorMix(master, new double[] {1}, List.of(start))));
      return new Trained(
          weight,
          master,
          arena.allocate(DType.F32, rows, columns),
          arena.allocate(DType.F32, rows, columns),
          arena.allocate(DType.F32, rows, columns));
    }

    TrainingOps.Update update(TrainingOps.AdamW step, Tensor damping) {
      return new TrainingOps.Update(step, damping, gradient, mean, square, master, weight);
    }
  }

  private final Backend backend;
  private final TrainingOps training;
  private final ModelConfig config;
  private final FitBlocks blocks;
  private final Streams streams;
  private final Ridge ridge;
  private final DecoderGradient gradient;
  private final TensorArena arena;

  /** The layer's output, and then the gradient by it, {@code [T, d]} for the tokens of a step. */
  private final Tensor output;

  /** {@code sqrt(c)} in every row, {@code [T, d]} for the tokens of a step. */
  private final Tensor metric;

  /** Inverse second moments of the inputs of attention and of the feed-forward network. */
  private final DecoderGradient.Whitening whitening;

  /** Allocates buffers for any number of layers. */
  Reconstruction(Workbench bench) {
    backend = bench.backend();
    training = backend.training();
    config = bench.config();
    blocks = bench.blocks();
    streams = bench.streams();
    ridge = bench.ridge();
    gradient = new DecoderGradient(backend, config, blocks.largestStep(), 1);
    arena = backend.arena();
    output = arena.allocate(DType.F32, blocks.largestStep(), config.hiddenSize());
    metric = arena.allocate(DType.F32, blocks.largestStep(), config.hiddenSize());
    DType fast = backend.productType(DType.BF16);
    whitening =
        new DecoderGradient.Whitening(
            arena.allocate(fast, config.hiddenSize(), config.hiddenSize()),
            arena.allocate(fast, config.hiddenSize(), config.hiddenSize()));
  }

  /**
   * Bytes of buffers; none where layers cannot be trained.
   *
   * @param step tokens of the largest step
   */
  static long bytes(Backend backend, ModelConfig config, int step) {
    return backend.missingForTraining() == null
        ? DecoderGradient.bytes(config, step, 1)
            // Output, metric, moments and their inverses.
            + (2L * step + 5L * config.hiddenSize()) * config.hiddenSize() * DType.F32.byteSize()
            + backend.training().scratchBytes(step, 0)
        : 0;
  }

  /** Bytes of the tensors of one layer while it is trained; none where layers cannot be trained. */
  static long layerBytes(Backend backend, ModelConfig config) {
    return backend.missingForTraining() == null
        // The weight beside its copy in f32 takes no more than f32.
        ? config.layerParameters() * (Trained.BYTES + DType.F32.byteSize())
        : 0;
  }

  /** How often a layer sees a fit text of so many tokens. */
  private static int passes(int tokens) {
    return tokens < LONG ? 2 : 1;
  }

  /** A step of AdamW without decay. */
  static TrainingOps.AdamW step(int number, double rate) {
    return new TrainingOps.AdamW(number, rate, BETA1, BETA2, EPSILON, 0, 1, 0);
  }

  /**
   * The share of the layers behind the first gap that are expected to be trained, until one gains
   * too little. Where a text is seen twice, all layers gain on it (docs/experiments/time.md, "A
   * training behind the default's fit").
   */
  static double gaining(int tokens) {
    return passes(tokens) == 1 ? GAINING : 1;
  }

  /** The steps of a layer's training. */
  static double steps(int tokens) {
    return (double) tokens * passes(tokens) / FitBlocks.STEP_TOKENS;
  }

  /**
   * The peak of the learning rate, relative to the root mean square of a tensor's elements.
   *
   * @param tokensPerParameter tokens that a layer sees for each of its parameters
   */
  static double rate(double tokensPerParameter) {
    return Math.min(MOST_RATE, RATE * Math.cbrt(tokensPerParameter));
  }

  private static long elements(SortedMap<LayerPart, Trained> tensors) {
    return tensors.values().stream().mapToLong(tensor -> tensor.master().elements()).sum();
  }

  /** The time of a layer's training, in forward passes of the layer over all tokens. */
  static double layerPasses(int tokens) {
    return STEP_PASSES * passes(tokens);
  }

  /**
   * Trains a layer, and keeps its weights if they make the error smaller. Before the call the
   * pruned stream holds the layer's input, the original's what the layer's output is to be;
   * afterwards the pruned stream holds the layer's output.
   *
   * @param attention what the attention of the layer has
   * @param withHeldOut whether the documents held out take part
   * @return squared error after training relative to that before, on the documents that take part;
   *     1 if the layer keeps its weights
   */
  double run(NewLayer layer, LayerAttention attention, boolean withHeldOut) {
    List<FitBlocks.Block> steps =
        blocks.steps().stream().filter(step -> withHeldOut || step.seen()).toList();
    List<FitBlocks.Block> judges = judges(steps);
    setMetric(judges);
    LayerWeights start = layer.weights();
    double before = error(start, attention, judges);
    double change = 1;
    try (TensorArena scratch = backend.arena()) {
      SortedMap<LayerPart, Trained> tensors = new TreeMap<>();
      start
          .parts()
          .forEach((part, weight) -> tensors.put(part, Trained.of(backend, scratch, weight)));
      setWhitenings(start, attention, judges);
      double after = error(trained(tensors, attention, steps, scratch), attention, judges);
      if (after < before) {
        change = after / before;
        tensors.forEach(
            (part, tensor) -> layer.use(part, tensor.weight().dtype(), tensor.master()));
      }
    }
    LayerWeights chosen = layer.weights();
    blocks.wide().forEach(block -> streams.layer(chosen, attention, streams.pruned(block), block));
    return change;
  }

  /** Steps that are spread evenly over all, of about {@link #JUDGED} tokens. */
  private static List<FitBlocks.Block> judges(List<FitBlocks.Block> steps) {
    int every = Math.max(1, FitBlocks.tokens(steps) / JUDGED);
    return IntStream.range(0, steps.size())
        .filter(i -> i % every == 0)
        .mapToObj(steps::get)
        .toList();
  }

  /** Trains the tensors of a layer, and returns the layer as it is afterwards. */
  private LayerWeights trained(
      SortedMap<LayerPart, Trained> tensors,
      LayerAttention attention,
      List<FitBlocks.Block> steps,
      TensorArena scratch) {
    Map<LayerPart, Tensor> weights = new HashMap<>();
    Map<LayerPart, Tensor> gradients = new HashMap<>();
    Map<LayerPart, Double> sizes = sizes(tensors);
    tensors.forEach(
        (part, tensor) -> {
          weights.put(part, tensor.weight());
          gradients.put(part, tensor.gradient());
        });
    LayerWeights layer = LayerWeights.ofParts(weights);
    if (!sizes.values().stream().allMatch(Double::isFinite)) {
      // Elements of a damaged or huge layer: its error does not fall.
      return layer;
    }
    Tensor running = scratch.allocate(DType.F32, tensors.size(), 2);
    Tensor dampings = scratch.allocate(DType.F32, tensors.size(), 1);
    LayerWeights layerGradients = LayerWeights.ofParts(gradients);
    int tokens = FitBlocks.tokens(steps);
    int passes = passes(tokens);
    int of = passes * steps.size();
    double peak = rate((double) passes * tokens / elements(tensors));
    for (int number = 1; number <= of; number++) {
      FitBlocks.Block step = steps.get((number - 1) % steps.size());
      Tensor y = output.slice(0, step.tokens());
      DecoderGradient.Results results =
          gradient.forward(0, layer, attention, streams.pruned(step), step.batch(), y);
      subtractTarget(y, step);
      streams.scale(y, step);
      weighChannels(y);
      gradient.backward(results, layer, y, whitening, layerGradients);
      double share = RateSchedule.share((double) number / of);
      training.dampings(
          new TrainingOps.Damping(number, BETA2, DAMPING, EPSILON),
          tensors.values().stream().map(Trained::gradient).toList(),
          running,
          dampings);
      List<TrainingOps.Update> updates = new ArrayList<>();
      for (Map.Entry<LayerPart, Trained> entry : tensors.entrySet()) {
        double rate = share * peak * Objects.requireNonNull(sizes.get(entry.getKey()));
        // A tensor whose gradient was damaged or huge once is not trained any further.
        Tensor damping = dampings.slice(updates.size(), updates.size() + 1);
        updates.add(entry.getValue().update(step(number, rate), damping));
      }
      training.adamW(updates);
    }
    return layer;
  }

  /**
   * Sets the inverse second moments of what the matrices behind each norm multiply.
   *
   * @param steps the tokens of the moments
   */
  private void setWhitenings(
      LayerWeights layer, LayerAttention attention, List<FitBlocks.Block> steps) {
    try (TensorArena scratch = backend.arena()) {
      // Both up to the diagonal.
      Tensor attended = scratch.allocate(DType.F32, config.hiddenSize(), config.hiddenSize());
      Tensor fed = scratch.allocate(DType.F32, config.hiddenSize(), config.hiddenSize());
      for (FitBlocks.Block step : steps) {
        Tensor x = output.slice(0, step.tokens());
        backend.copy(streams.pruned(step), x);
        backend.addGram(
            streams.input(
                layer, LayerRole.ATTENTION_INPUT_NORM, LayerRole.ATTENTION_INPUT_NORM_BIAS, x),
            attended);
        streams.attention(layer, attention, x, step);
        backend.addGram(
            streams.input(
                layer,
                LayerRole.FEED_FORWARD_INPUT_NORM,
                LayerRole.FEED_FORWARD_INPUT_NORM_BIAS,
                x),
            fed);
      }
      invert(attended, steps, whitening.attention(), scratch);
      invert(fed, steps, whitening.feedForward(), scratch);
    }
  }

  /** Writes the inverse, in the dtype in which the device multiplies quickly. */
  private void invert(
      Tensor moments, List<FitBlocks.Block> steps, Tensor inverse, TensorArena scratch) {
    Tensor root = ridge.whitening(moments, FitBlocks.tokens(steps), LEAST, scratch);
    if (root == null) {
      // Inputs of zeros, or beyond f32: gradients are, too.
      return;
    }
    backend.squareOfTriangle(root, moments);
    backend.mix(List.of(new TensorMix(inverse, new double[] {1}, List.of(moments))));
  }

  /**
   * The root mean square of each tensor's elements; of a norm's weight that of the factors by which
   * the norm multiplies.
   */
  private Map<LayerPart, Double> sizes(SortedMap<LayerPart, Trained> tensors) {
    double[] squares =
        training.sumsOfSquares(tensors.values().stream().map(Trained::master).toList());
    Map<LayerPart, Double> sizes = new HashMap<>();
    for (Map.Entry<LayerPart, Trained> entry : tensors.entrySet()) {
      LayerPart part = entry.getKey();
      Tensor master = entry.getValue().master();
      double offset = config.normOffset(part.role());
      sizes.put(
          part,
          offset == 0
              ? Math.sqrt(squares[sizes.size()] / master.elements())
              : Values.rootMeanSquare(backend, master, offset));
    }
    return sizes;
  }

  /** The loss. */
  private double error(
      LayerWeights weights, LayerAttention attention, List<FitBlocks.Block> steps) {
    try (TensorArena scratch = backend.arena()) {
      Tensor columns = scratch.allocate(DType.F32, 1, config.hiddenSize());
      steps.forEach(step -> backend.addSquares(lack(weights, attention, step), columns));
      return Values.sum(backend, columns);
    }
  }

  /** {@code sqrt(w_t c_i) (y_ti - h_ti)} for the tokens of a step; valid until the next call. */
  private Tensor lack(LayerWeights weights, LayerAttention attention, FitBlocks.Block step) {
    Tensor y = output.slice(0, step.tokens());
    backend.copy(streams.pruned(step), y);
    streams.layer(weights, attention, y, step);
    subtractTarget(y, step);
    return y;
  }

  /** Turns the layer's output {@code y} into {@code sqrt(w_t c_i) (y_ti - h_ti)}. */
  private void subtractTarget(Tensor y, FitBlocks.Block step) {
    backend.mix(List.of(new TensorMix(y, new double[] {1, -1}, List.of(y, streams.dense(step)))));
    streams.scale(y, step);
    weighChannels(y);
  }

  private void weighChannels(Tensor y) {
    backend.multiply(y, metric.slice(0, y.rows()), y);
  }

  private void setMetric(List<FitBlocks.Block> steps) {
    float[] row = new float[config.hiddenSize()];
    try (TensorArena scratch = backend.arena()) {
      Tensor energy = scratch.allocate(DType.F32, 1, row.length);
      for (FitBlocks.Block step : steps) {
        Tensor h = output.slice(0, step.tokens());
        backend.copy(streams.dense(step), h);
        streams.scale(h, step);
        backend.addSquares(h, energy);
      }
      backend.download(energy, row);
    }
    double mean = 0;
    for (float energy : row) {
      mean += energy / row.length;
    }
    for (int i = 0; i < row.length; i++) {
      row[i] = mean > 0 ? (float) (1 / Math.sqrt(row[i] / mean + FLOOR)) : 1;
    }
    float[] rows = new float[Math.toIntExact(metric.elements())];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = row[i % row.length];
    }
    backend.upload(rows, metric);
  }

  @Override
  public void close() {
    arena.close();
    gradient.close();
  }
}
