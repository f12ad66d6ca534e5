package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerWeights;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * One Gauss-Newton step of a layer's gate projection {@code G} and up projection {@code U}, with
 * the down projection {@code W_d} fixed. The error {@code e_t} is the original's hidden state less
 * the pruned model's behind the layer. The step solves the least-squares problem in which the
 * channels {@code a = act(G x) * (U x)} are linearised in both matrices,
 *
 * <pre>  minimise sum_t w_t |e_t - W_d (s_t * (dU x_t) + c_t * (dG x_t))|^2 + penalty,
 *   s = act(G x), c = (U x) * act'(G x)</pre>
 *
 * <p>by conjugate gradients (Hestenes and Stiefel 1952); stopping after few iterations regularises,
 * too. To be well conditioned, the problem is solved for {@code V} in {@code dU = S V R^T}: {@code
 * R} whitens the input, so that {@code x R} has unit second moments, and the diagonal {@code S}
 * divides each channel by the root mean square of its effect on the hidden state; the penalty is
 * {@code lambda |V|^2}. {@code dG} likewise. If the full step does not lower the error, because the
 * channels are not linear, half of it is tried, then a quarter, then none is taken.
 *
 * <p>An object takes one step; the next step needs a new object.
 */
final class Refinement implements AutoCloseable {
  /** Share of the mean second moment of the input that is added to each before whitening. */
  private static final double FLOOR = 0.01;

  /** Share of the channels' mean energy that is added to the energy of each. */
  private static final double SHORTEST = 1e-6;

  private static final double[] SHARES = {1, 0.5, 0.25};

  private final Backend backend;
  private final List<FitBlocks.Block> blocks;
  private final Streams streams;
  private final Ridge ridge;
  private final Matrices matrices;
  private final NewLayer layer;
  private final LayerAttention attention;
  private final TensorArena arena;
  private final Side up;
  private final Side gate;

  /** {@code W_d^T [k, d]}. */
  private final Tensor transposed;

  private final Tensor change;
  private final Tensor reached;
  private final Tensor other;

  /**
   * Allocates buffers for a step of {@code layer}; the pruned stream holds the output of its
   * attention.
   *
   * @param attention what the attention of the layer has
   * @param withHeldOut whether the documents held out take part in the step
   */
  Refinement(Workbench bench, NewLayer layer, LayerAttention attention, boolean withHeldOut) {
    this.backend = bench.backend();
    this.streams = bench.streams();
    this.ridge = bench.ridge();
    this.matrices = bench.matrices();
    this.layer = layer;
    this.attention = attention;
    blocks = bench.blocks().list().stream().filter(block -> withHeldOut || block.seen()).toList();
    arena = backend.arena();
    int width = bench.config().hiddenSize();
    int channels = bench.config().intermediateSize();
    int largest = bench.blocks().largest();
    up = new Side(LayerRole.UP, channels, width);
    gate = new Side(LayerRole.GATE, channels, width);
    Tensor down = layer.weights().get(LayerRole.DOWN);
    transposed = fast(matrices.transposedWeight(down, arena), down.dtype(), arena);
    reached = arena.allocate(DType.F32, largest, width);
    change = arena.allocate(DType.F32, largest, channels);
    other = arena.allocate(DType.F32, largest, channels);
  }

  /** Bytes that the buffers of a step take. */
  static long bytes(ModelConfig config, long largestBlock) {
    long width = config.hiddenSize();
    long channels = config.intermediateSize();
    long matrix = channels * width;
    return ((2 * Side.MATRICES + 1) * matrix + largestBlock * (width + 2 * channels))
        * DType.F32.byteSize();
  }

  /** One of the two matrices, {@code [k, d]}, and its state in conjugate gradients. */
  private final class Side {
    /** Matrices {@code [k, d]} that a side needs: four fields and two temporary ones. */
    static final long MATRICES = 6;

    final LayerRole role;
    final Tensor scale;
    final Tensor solution;
    final Tensor direction;
    final Tensor residual;
    final Tensor product;

    Side(LayerRole role, int channels, int width) {
      this.role = role;
      scale = arena.allocate(DType.F32, channels, 1);
      solution = arena.allocate(DType.F32, channels, width);
      direction = arena.allocate(DType.F32, channels, width);
      residual = arena.allocate(DType.F32, channels, width);
      product = arena.allocate(DType.F32, channels, width);
    }

    /** {@code S V R^T} of coordinates {@code V}. */
    Tensor weights(Tensor coordinates, Tensor whitening, TensorArena scratch) {
      Tensor out = scratch.allocate(DType.F32, coordinates.rows(), coordinates.columns());
      backend.linear(coordinates, whitening, null, out);
      backend.scaledDifference(out, null, scale, out);
      return out;
    }

    /** {@code product := S product R}: turns a gradient by the weights into one by {@code V}. */
    void toCoordinates(Tensor transposedWhitening) {
      try (TensorArena scratch = backend.arena()) {
        Tensor scaled = scratch.allocate(DType.F32, product.rows(), product.columns());
        backend.scaledDifference(product, null, scale, scaled);
        backend.linear(scaled, transposedWhitening, null, product);
      }
    }

    void clearProduct() {
      backend.scaledDifference(product, product, scale, product);
    }
  }

  /**
   * Takes the step.
   *
   * @param iterations of conjugate gradients
   * @return squared error after the step, relative to the error before; 1 if no step lowers it, NaN
   *     if there is no step because the input of the matrices is zero or not finite
   */
  double run(int iterations, double lambda) {
    LayerWeights before = layer.weights();
    try (TensorArena scratch = backend.arena()) {
      Tensor whitening = measure(before, scratch);
      if (whitening == null) {
        return Double.NaN;
      }
      Tensor transposedWhitening = matrices.transposed(whitening, scratch);
      double old = gradientOfLack(before, transposedWhitening);
      double rest = 0;
      for (Side side : List.of(up, gate)) {
        backend.copy(side.product, side.residual);
        backend.copy(side.product, side.direction);
        rest += Values.sumOfSquares(backend, side.residual);
      }
      for (int i = 0; i < iterations && rest > 0; i++) {
        rest = iterate(before, whitening, transposedWhitening, lambda, rest);
      }
      return take(before, whitening, old);
    }
  }

  /**
   * Sets {@code S} of both sides and returns {@code R}, the {@link Ridge#whitening} of the input;
   * null if there is none.
   */
  private @Nullable Tensor measure(LayerWeights before, TensorArena scratch) {
    long width = reached.columns();
    long channels = transposed.rows();
    Tensor gram = scratch.allocate(DType.F32, width, width);
    Tensor upPower = scratch.allocate(DType.F32, 1, channels);
    Tensor gatePower = scratch.allocate(DType.F32, 1, channels);
    for (FitBlocks.Block block : blocks) {
      DecoderLayer.Slopes slopes = streams.slopes(before, block);
      Tensor input = slopes.input().states();
      backend.crossProduct(input, input, gram);
      streams.scale(slopes.byUp(), block);
      streams.scale(slopes.byGate(), block);
      backend.addSquares(slopes.byUp(), upPower);
      backend.addSquares(slopes.byGate(), gatePower);
    }
    Tensor columns = scratch.allocate(DType.F32, 1, channels);
    backend.addSquares(matrices.wide(before.get(LayerRole.DOWN), scratch), columns);
    float[] lengths = values(columns);
    setScale(up, lengths, values(upPower));
    setScale(gate, lengths, values(gatePower));
    return ridge.whitening(gram, FitBlocks.tokens(blocks), FLOOR, scratch);
  }

  private float[] values(Tensor row) {
    float[] values = new float[Math.toIntExact(row.elements())];
    backend.download(row, values);
    return values;
  }

  private void setScale(Side side, float[] lengths, float[] powers) {
    double[] energy = new double[lengths.length];
    for (int i = 0; i < energy.length; i++) {
      energy[i] = (double) lengths[i] * powers[i];
    }
    double mean = Arrays.stream(energy).average().orElse(0);
    float[] scale = new float[energy.length];
    for (int i = 0; i < scale.length; i++) {
      scale[i] = mean > 0 ? (float) (1 / Math.sqrt(energy[i] + SHORTEST * mean)) : 0;
    }
    backend.upload(scale, side.scale);
  }

  /**
   * Sets each side's {@code product} to the negative gradient of the error by {@code V}.
   *
   * @return the weighted squared error
   */
  private double gradientOfLack(LayerWeights before, Tensor transposedWhitening) {
    try (TensorArena scratch = backend.arena()) {
      Tensor columns = scratch.allocate(DType.F32, 1, reached.columns());
      for (FitBlocks.Block block : blocks) {
        Tensor lack = streams.forDown(before, attention, block).target();
        backend.addSquares(lack, columns);
        addGradient(streams.slopes(before, block), lack, block);
      }
      up.toCoordinates(transposedWhitening);
      gate.toCoordinates(transposedWhitening);
      return Values.sum(backend, columns);
    }
  }

  /**
   * Adds a block's part of the gradients to {@code product} of both sides.
   *
   * @param moved {@code sqrt(w) e [T, d]}; multiplied by {@code sqrt(w)} once more, in place
   */
  private void addGradient(DecoderLayer.Slopes slopes, Tensor moved, FitBlocks.Block block) {
    Tensor back = change.slice(0, moved.rows());
    streams.scale(moved, block);
    backend.linear(moved, transposed, null, back);
    backend.multiply(slopes.byUp(), back, slopes.byUp());
    backend.multiply(slopes.byGate(), back, slopes.byGate());
    backend.crossProduct(slopes.byUp(), slopes.input().states(), up.product);
    backend.crossProduct(slopes.byGate(), slopes.input().states(), gate.product);
  }

  /**
   * One iteration of conjugate gradients.
   *
   * @param rest squared length of the residual before
   * @return squared length of the residual after
   */
  private double iterate(
      LayerWeights before,
      Tensor whitening,
      Tensor transposedWhitening,
      double lambda,
      double rest) {
    double energy =
        lambda
            * (Values.sumOfSquares(backend, up.direction)
                + Values.sumOfSquares(backend, gate.direction));
    try (TensorArena scratch = backend.arena()) {
      Tensor upWeights = direction(before, up, whitening, scratch);
      Tensor gateWeights = direction(before, gate, whitening, scratch);
      Tensor columns = scratch.allocate(DType.F32, 1, reached.columns());
      up.clearProduct();
      gate.clearProduct();
      for (FitBlocks.Block block : blocks) {
        DecoderLayer.Slopes slopes = streams.slopes(before, block);
        Tensor input = slopes.input().states();
        long tokens = input.rows();
        Tensor channels = change.slice(0, tokens);
        Tensor more = other.slice(0, tokens);
        backend.linear(input, upWeights, null, channels);
        backend.multiply(channels, slopes.byUp(), channels);
        backend.linear(input, gateWeights, null, more);
        backend.multiply(more, slopes.byGate(), more);
        backend.add(channels, more);
        Tensor moved = reached.slice(0, tokens);
        backend.linear(channels, before.get(LayerRole.DOWN), null, moved);
        streams.scale(moved, block);
        backend.addSquares(moved, columns);
        addGradient(slopes, moved, block);
      }
      energy += Values.sum(backend, columns);
    }
    double step = rest / energy;
    double left = 0;
    for (Side side : List.of(up, gate)) {
      side.toCoordinates(transposedWhitening);
      combine(side.solution, 1, side.solution, step, side.direction);
      combine(side.product, 1, side.product, lambda, side.direction);
      combine(side.residual, 1, side.residual, -step, side.product);
      left += Values.sumOfSquares(backend, side.residual);
    }
    for (Side side : List.of(up, gate)) {
      combine(side.direction, 1, side.residual, left / rest, side.direction);
    }
    return left;
  }

  /** The search direction of a side as weights, in a dtype that the device multiplies quickly. */
  private Tensor direction(LayerWeights before, Side side, Tensor whitening, TensorArena scratch) {
    Tensor weights = side.weights(side.direction, whitening, scratch);
    return fast(weights, before.get(side.role).dtype(), scratch);
  }

  /** Narrows to bf16 if the layer is bf16, never to f16: it cannot hold the small changes. */
  private Tensor fast(Tensor weights, DType own, TensorArena owner) {
    return own == DType.BF16 ? matrices.narrow(weights, own, owner) : weights;
  }

  private void combine(Tensor out, double a, Tensor x, double b, Tensor y) {
    backend.mix(List.of(new TensorMix(out, new double[] {a, b}, List.of(x, y))));
  }

  /**
   * Changes the layer by the largest of {@link #SHARES} of the solution that lowers the error.
   *
   * @param old the error before
   * @return the error after, relative to {@code old}; 1 if no share lowers it
   */
  private double take(LayerWeights before, Tensor whitening, double old) {
    for (double share : SHARES) {
      try (TensorArena scratch = backend.arena()) {
        Tensor upWeights = moved(before, up, whitening, share, scratch);
        Tensor gateWeights = moved(before, gate, whitening, share, scratch);
        DType upType = before.get(LayerRole.UP).dtype();
        DType gateType = before.get(LayerRole.GATE).dtype();
        double error =
            error(
                before.with(
                    Map.of(
                        LayerRole.UP, matrices.narrow(upWeights, upType, scratch),
                        LayerRole.GATE, matrices.narrow(gateWeights, gateType, scratch))));
        if (error < old) {
          layer.use(LayerRole.UP, upType, upWeights);
          layer.use(LayerRole.GATE, gateType, gateWeights);
          return error / old;
        }
      }
    }
    return 1;
  }

  private Tensor moved(
      LayerWeights before, Side side, Tensor whitening, double share, TensorArena scratch) {
    Tensor sum = side.weights(side.solution, whitening, scratch);
    combine(sum, share, sum, 1, matrices.wide(before.get(side.role), scratch));
    return sum;
  }

  /** Weighted squared error. */
  private double error(LayerWeights weights) {
    try (TensorArena scratch = backend.arena()) {
      Tensor columns = scratch.allocate(DType.F32, 1, reached.columns());
      for (FitBlocks.Block block : blocks) {
        backend.addSquares(streams.forDown(weights, attention, block).target(), columns);
      }
      return Values.sum(backend, columns);
    }
  }

  @Override
  public void close() {
    arena.close();
  }
}
