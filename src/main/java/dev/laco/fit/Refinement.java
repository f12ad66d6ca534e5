package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerWeights;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Moves a layer's gate and up projections together so that its channels, behind the down projection
 * {@code W_d} as it is, say more of what the pruned stream lacks: a Gauss-Newton step, that is,
 * least squares with the channels {@code a = act(G x) * (U x)} linearised in both matrices,
 *
 * <pre>  minimise sum_t w_t |e_t - W_d (s_t * (dU x_t) + c_t * (dG x_t))|^2 + penalty,
 *   s = act(G x), c = (U x) * act'(G x)</pre>
 *
 * <p>by conjugate gradients (Hestenes and Stiefel 1952), few steps of which are a regularisation of
 * their own. They run in coordinates in which the problem is nearly round: {@code dU = S V R^T},
 * with {@code x R} of unit second moments and {@code S} the inverse length of what a unit of each
 * channel moves; the penalty is {@code lambda |V|^2}. Where the channels are so far from linear
 * that more is undone afterwards, half of the change is taken, a quarter, or none.
 *
 * <p>For one step: another takes a new object.
 */
final class Refinement implements AutoCloseable {
  /** What of its mean is added to the second moments of a layer's input. */
  private static final double FLOOR = 0.01;

  /** What of the mean a channel's length counts for at least. */
  private static final double SHORTEST = 1e-6;

  private static final double[] SHARES = {1, 0.5, 0.25};

  private final Backend backend;
  private final List<FitBlocks.Block> blocks;
  private final Streams streams;
  private final Ridge ridge;
  private final Matrices matrices;
  private final NewLayer layer;
  private final TensorArena arena;
  private final Side up;
  private final Side gate;

  /** {@code W_d^T [k, d]}. */
  private final Tensor transposed;

  private final Tensor change;
  private final Tensor reached;
  private final Tensor other;

  /**
   * Buffers, for a layer whose stream stands behind its attention.
   *
   * @param withHeldOut whether documents that are held out count, too
   */
  Refinement(Workbench bench, NewLayer layer, boolean withHeldOut) {
    this.backend = bench.backend();
    this.streams = bench.streams();
    this.ridge = bench.ridge();
    this.matrices = bench.matrices();
    this.layer = layer;
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

  /** Bytes that it takes. */
  static long bytes(ModelConfig config, long largestBlock) {
    long width = config.hiddenSize();
    long channels = config.intermediateSize();
    long matrix = channels * width;
    return ((2 * Side.MATRICES + 1) * matrix + largestBlock * (width + 2 * channels))
        * DType.F32.byteSize();
  }

  /** One of the two matrices, {@code [k, d]}, and what conjugate gradients keep of it. */
  private final class Side {
    /** Of {@code [k, d]}: four, and what is made of them for a while. */
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

    /** {@code product := S product R}: a gradient in coordinates. */
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
   * @return squared error that is left, relative to that before; 1 where no change helps, NaN where
   *     none can be found: what the matrices multiply is zero or not finite
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
        rest += squares(side.residual);
      }
      for (int i = 0; i < iterations && rest > 0; i++) {
        rest = iterate(before, whitening, transposedWhitening, lambda, rest);
      }
      return take(before, whitening, old);
    }
  }

  /** {@link Ridge#whitening} of what both matrices multiply, and both sides' {@code S}. */
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
   * Each side's product becomes the gradient, in coordinates, of what is undone. Returns its
   * weighted square.
   */
  private double gradientOfLack(LayerWeights before, Tensor transposedWhitening) {
    try (TensorArena scratch = backend.arena()) {
      Tensor columns = scratch.allocate(DType.F32, 1, reached.columns());
      for (FitBlocks.Block block : blocks) {
        Tensor lack = streams.forDown(before, block).target();
        backend.addSquares(lack, columns);
        addGradient(streams.slopes(before, block), lack, block);
      }
      up.toCoordinates(transposedWhitening);
      gate.toCoordinates(transposedWhitening);
      return Values.sum(backend, columns);
    }
  }

  /**
   * Adds a block's part of both gradients.
   *
   * @param moved {@code sqrt(w) e [T, d]}; scaled once more
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

  /** One step of conjugate gradients; returns the square of what is left of the gradient. */
  private double iterate(
      LayerWeights before,
      Tensor whitening,
      Tensor transposedWhitening,
      double lambda,
      double rest) {
    double energy = lambda * (squares(up.direction) + squares(gate.direction));
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
      left += squares(side.residual);
    }
    for (Side side : List.of(up, gate)) {
      combine(side.direction, 1, side.residual, left / rest, side.direction);
    }
    return left;
  }

  /** A direction's weights, in a type in which the device is fast. */
  private Tensor direction(LayerWeights before, Side side, Tensor whitening, TensorArena scratch) {
    Tensor weights = side.weights(side.direction, whitening, scratch);
    return fast(weights, before.get(side.role).dtype(), scratch);
  }

  /** In bf16 where the layer is; the small numbers of a change are below what f16 can hold. */
  private Tensor fast(Tensor weights, DType own, TensorArena owner) {
    return own == DType.BF16 ? matrices.narrow(weights, own, owner) : weights;
  }

  private void combine(Tensor out, double a, Tensor x, double b, Tensor y) {
    backend.mix(List.of(new TensorMix(out, new double[] {a, b}, List.of(x, y))));
  }

  private double squares(Tensor matrix) {
    try (TensorArena scratch = backend.arena()) {
      Tensor columns = scratch.allocate(DType.F32, 1, matrix.columns());
      backend.addSquares(matrix, columns);
      return Values.sum(backend, columns);
    }
  }

  /** Takes as much of the solution as lowers the error, which was {@code old}. */
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
        backend.addSquares(streams.forDown(weights, block).target(), columns);
      }
      return Values.sum(backend, columns);
    }
  }

  @Override
  public void close() {
    arena.close();
  }
}
