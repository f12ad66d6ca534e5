package dev.laco.transformer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerPart;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TokenMixer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The gradients of whole layers are the limits of central differences of the forward pass. The loss
 * is a sum of the layer's outputs, each times a random number. Each tensor moves along a random
 * direction, so that one difference tells about all of its elements.
 */
class DecoderGradientTest {
  /** A difference has an error of the square of the step, and of f32 divided by the step. */
  private static final double STEP = 1e-2;

  /**
   * With steps of mixtures, no token changes its experts; the short outputs of linear attention at
   * the first tokens, which have a norm, change their directions little.
   */
  private static final double SMALL_STEP = 2e-3;

  /** The difference of smaller steps would be lost in the rounding of the outputs to f32. */
  private static final double LEAST_STEP = 4e-4;

  /** Likewise of mixtures, whose vectors do not stand in front of a norm. */
  private static final double LEAST_STEP_OF_MIXTURES = 2e-3;

  private static final double TOLERANCE = 4e-3;

  private final Random random = new Random(11);

  /** The last layer of each fixture, and the first where its attention is of another kind. */
  static Stream<Arguments> layers() {
    return Fixtures.names()
        .flatMap(
            name -> {
              List<LayerAttention> all = Fixtures.config(name).attention();
              boolean alike = all.getFirst().mixer() == all.getLast().mixer();
              return (alike ? Stream.of(all.size() - 1) : Stream.of(all.size() - 1, 0))
                  .map(layer -> Arguments.of(name, layer));
            });
  }

  @ParameterizedTest
  @MethodSource("layers")
  void areThoseOfTheForwardPass(String fixture, int index) {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        TensorArena arena = backend.arena()) {
      ModelConfig config = checkpoint.config();
      RunningModel running = new RunningModel(backend, config, checkpoint);
      CausalLm model = running.original();
      PackedSequences tokens = PackedSequences.of(List.of(new int[] {1, 5, 2}, new int[] {3, 1}));
      LayerWeights weights = wide(backend, arena, new CheckpointLayers(running).layer(index, 5));
      LayerAttention attention = config.attention().get(index);
      try (Workspace work = new Workspace(backend, config, 5);
          DecoderGradient decoder = new DecoderGradient(backend, config, 8, 1);
          TokenBatch batch = model.batch(tokens)) {
        Tensor x = arena.allocate(DType.F32, 5, config.hiddenSize());
        model.embed(batch, x);
        // Hidden states of the size that norms make of them: eps then changes little.
        float[] states = normal(x);
        backend.upload(states, x);
        Tensor gradient = arena.allocate(DType.F32, 5, config.hiddenSize());
        float[] byOutput = normal(gradient);
        backend.upload(byOutput, gradient);
        LayerWeights sums = zeros(arena, weights);
        decoder.backward(
            decoder.forward(0, weights, attention, x, batch, null), weights, gradient, null, sums);
        float[] untouched = new float[states.length];
        backend.download(x, untouched);
        assertArrayEquals(states, untouched);

        Tensor alone = arena.allocate(DType.F32, 5, config.hiddenSize());
        backend.upload(byOutput, alone);
        decoder.backward(decoder.forward(0, weights, attention, x, batch, null), weights, alone);
        assertEqual(backend, gradient, alone, 1);

        DecoderLayer layer = new DecoderLayer(backend, config);
        Tensor out = arena.allocate(DType.F32, 5, config.hiddenSize());
        Loss loss =
            () -> {
              backend.copy(x, out);
              layer.run(weights, attention, out, batch, work.forTokens(5));
              float[] values = new float[byOutput.length];
              backend.download(out, values);
              double sum = 0;
              for (int i = 0; i < values.length; i++) {
                sum += (double) values[i] * byOutput[i];
              }
              return sum;
            };
        Step step = step(config, attention);
        check(backend, fixture + ": x", loss, step, x, gradient);
        weights
            .parts()
            .forEach(
                (part, tensor) ->
                    check(backend, fixture + ": " + part, loss, step, tensor, sums.get(part)));
      }
    }
  }

  /**
   * The layer is run once, the gradients are those of the loss that its output has, and those of
   * the matrices behind norms are multiplied.
   */
  @ParameterizedTest
  @MethodSource("layers")
  void areThoseOfALossOfTheLayerAlone(String fixture, int index) {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        TensorArena arena = backend.arena()) {
      ModelConfig config = checkpoint.config();
      RunningModel running = new RunningModel(backend, config, checkpoint);
      LayerWeights weights = wide(backend, arena, new CheckpointLayers(running).layer(index, 5));
      LayerAttention attention = config.attention().get(index);
      PackedSequences tokens = PackedSequences.of(List.of(new int[] {1, 5, 2}, new int[] {3, 1}));
      try (Workspace work = new Workspace(backend, config, 5);
          DecoderGradient decoder = new DecoderGradient(backend, config, 5, 1);
          TokenBatch batch = running.original().batch(tokens)) {
        Tensor x = arena.allocate(DType.F32, 5, config.hiddenSize());
        float[] states = normal(x);
        backend.upload(states, x);
        float[] byOutput = normal(x);
        Tensor expected = arena.allocate(DType.F32, 5, config.hiddenSize());
        backend.upload(byOutput, expected);
        LayerWeights expectedSums = zeros(arena, weights);
        decoder.backward(
            decoder.forward(0, weights, attention, x, batch, null),
            weights,
            expected,
            null,
            expectedSums);

        Tensor found = arena.allocate(DType.F32, 5, config.hiddenSize());
        LayerWeights foundSums = zeros(arena, weights);
        Tensor output = arena.allocate(DType.F32, 5, config.hiddenSize());
        DecoderGradient.Results results = decoder.forward(0, weights, attention, x, batch, output);
        backend.upload(byOutput, found);
        decoder.backward(
            results,
            weights,
            found,
            new DecoderGradient.Whitening(
                diagonal(backend, arena, config.hiddenSize(), 2),
                diagonal(backend, arena, config.hiddenSize(), 4)),
            foundSums);
        assertEqual(backend, expected, found, 1);
        expectedSums
            .parts()
            .forEach(
                (part, sum) -> {
                  double factor =
                      switch (part.role()) {
                        case QUERY, KEY, VALUE, QUERY_KEY_VALUE -> 2;
                        case LINEAR_HEADS, LINEAR_GATE, LINEAR_RATE, LINEAR_DECAY -> 2;
                        case LINEAR_HEADS_GATE, LINEAR_RATE_DECAY -> 2;
                        case CONVOLUTION_GATE, CONVOLUTION_OUTPUT_GATE, CONVOLUTION_INPUT -> 2;
                        case QUERY_COMPRESSION, KEY_VALUE_COMPRESSION, ROTATED_KEY -> 2;
                        case GATE, UP, GATE_UP_TRANSPOSED, ROUTER -> 4;
                        case SHARED_GATE, SHARED_UP, SHARED_ROUTER -> 4;
                        default -> 1;
                      };
                  assertEqual(backend, sum, foundSums.get(part), factor);
                });
        new DecoderLayer(backend, config).run(weights, attention, x, batch, work.forTokens(5));
        assertEqual(backend, x, output, 1);
      }
    }
  }

  /** A matrix with {@code value} on its diagonal, and zeros. */
  private static Tensor diagonal(Backend backend, TensorArena arena, int width, float value) {
    float[] values = new float[width * width];
    for (int i = 0; i < width; i++) {
      values[i * width + i] = value;
    }
    Tensor diagonal = arena.allocate(DType.F32, width, width);
    backend.upload(values, diagonal);
    return diagonal;
  }

  private static void assertEqual(Backend backend, Tensor expected, Tensor found, double factor) {
    float[] all = new float[Math.toIntExact(expected.elements())];
    float[] others = all.clone();
    backend.download(expected, all);
    backend.download(found, others);
    for (int i = 0; i < all.length; i++) {
      assertEquals(factor * all[i], others[i], 1e-4, () -> "factor " + factor);
    }
  }

  private interface Loss {
    double compute();
  }

  /**
   * How far tensors move.
   *
   * @param relative to the root mean square of their elements
   * @param least the shortest step
   */
  private record Step(double relative, double least) {}

  private static Step step(ModelConfig config, LayerAttention attention) {
    if (config.mixture() != null) {
      return new Step(SMALL_STEP, LEAST_STEP_OF_MIXTURES);
    }
    return new Step(
        attention.mixer() == TokenMixer.LINEAR_ATTENTION ? SMALL_STEP : STEP, LEAST_STEP);
  }

  /** Moves a tensor by a small step to both sides, and back. */
  private void check(
      Backend backend, String what, Loss loss, Step steps, Tensor tensor, Tensor gradient) {
    int count = Math.toIntExact(tensor.elements());
    float[] at = new float[count];
    float[] found = new float[count];
    backend.download(tensor, at);
    backend.download(gradient, found);
    float[] direction = normal(tensor);
    double size = Math.sqrt(squares(at) / count);
    double difference = 0;
    double expected = 0;
    double step = Math.max(steps.relative * size, steps.least);
    for (int side = -1; side <= 1; side += 2) {
      float[] moved = at.clone();
      for (int i = 0; i < count; i++) {
        moved[i] += (float) (side * step * direction[i]);
      }
      backend.upload(moved, tensor);
      difference += side * loss.compute();
    }
    backend.upload(at, tensor);
    for (int i = 0; i < count; i++) {
      expected += (double) found[i] * direction[i];
    }
    double scale = Math.sqrt(squares(found));
    assertEquals(expected, difference / (2 * step), TOLERANCE * scale + 1e-4, what);
  }

  private static double squares(float[] values) {
    double sum = 0;
    for (float value : values) {
      sum += (double) value * value;
    }
    return sum;
  }

  private float[] normal(Tensor tensor) {
    float[] values = new float[Math.toIntExact(tensor.elements())];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  /** The weights in f32, in memory that may change. */
  private static LayerWeights wide(Backend backend, TensorArena arena, LayerWeights weights) {
    LayerWeights wide = zeros(arena, weights);
    weights
        .parts()
        .forEach(
            (part, tensor) ->
                backend.mix(
                    List.of(new TensorMix(wide.get(part), new double[] {1}, List.of(tensor)))));
    return wide;
  }

  private static LayerWeights zeros(TensorArena arena, LayerWeights weights) {
    Map<LayerPart, Tensor> tensors = new HashMap<>();
    weights
        .parts()
        .forEach(
            (part, tensor) ->
                tensors.put(part, arena.allocate(DType.F32, tensor.rows(), tensor.columns())));
    return LayerWeights.ofParts(tensors);
  }
}
