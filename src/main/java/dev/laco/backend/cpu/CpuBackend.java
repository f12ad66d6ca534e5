package dev.laco.backend.cpu;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.DivergenceState;
import dev.laco.backend.Head;
import dev.laco.backend.KernelCode;
import dev.laco.backend.MemoryBackend;
import dev.laco.backend.MemoryBatch;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.OpChecks;
import dev.laco.backend.SequenceStates;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.ModelConfig;
import dev.laco.model.NormSpec;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * The ops on a CPU: our C++ kernels, and oneDNN for matrix products of more than a few rows.
 * Weights are read where they lie in memory. The results of our kernels do not depend on the number
 * of threads; those of oneDNN may.
 */
public final class CpuBackend extends MemoryBackend {
  /** Bytes that {@link #logProbability} and {@link #klDivergence} use for logits. */
  private static final long LOGITS_BYTES = 8L << 20;

  /** Elements of each tensor that {@link #pairProducts} multiplies at once, in sums of f32. */
  private static final long PAIR_ELEMENTS = 16384;

  /** Columns whose weights the kernel of {@link #sample} adds up. */
  private static final long SAMPLED_PART = 1024;

  /** Rows that {@link #klDivergence} computes together; a panel of logits then has 1024 columns. */
  private static final int DIVERGENCE_ROWS = 1024;

  private final CpuTier tier;
  private final int threads;
  private final CpuKernels kernels;
  private final String oneDnnVersion;
  private final ProductRates.Sizes sizes;
  private final Thread opener = Thread.currentThread();

  /** Threads of OpenMP that the opening thread would use without the backend. */
  private final int threadsBefore;

  private final ProductChoice choice;
  private final CpuProducts products;
  private final CpuTraining training;
  private final Scratch attentionScratch = new Scratch();
  private final Scratch sequenceScratch = new Scratch();
  private final Scratch rowScratch = new Scratch();
  private final Scratch mixScratch = new Scratch();
  private final Scratch wideScratch = new Scratch();
  private final Scratch roundedScratch = new Scratch();
  private final Scratch reductionScratch = new Scratch();
  private final Scratch logits = new Scratch();

  private CpuBackend(Compute compute, int threads, CpuTier tier, ProductRates.Sizes sizes) {
    super(compute);
    CpuLibraries libraries = CpuLibraries.get();
    this.tier = tier;
    this.threads = threads;
    this.kernels = new CpuKernels(libraries.kernels(), tier);
    this.threadsBefore = kernels.threads();
    this.oneDnnVersion = OneDnn.version(libraries.oneDnn());
    this.sizes = sizes;
    this.choice = ProductChoice.of(compute, tier, sizes);
    this.products = new CpuProducts(libraries.oneDnn(), kernels, choice.type(), tier, threads);
    this.training = new CpuTraining(this, products);
  }

  /**
   * Opens a backend on the {@linkplain CpuTier#selected selected} tier.
   *
   * @param threads 0 for as many as this process may use physical cores
   * @throws dev.laco.ResourceException if a native library cannot be loaded
   */
  public static CpuBackend open(Compute compute, int threads) {
    return open(compute, threads, CpuTier.selected());
  }

  /**
   * Opens a backend for one model: with {@link Compute#AUTO} the type of products is chosen by
   * timing products of the shapes of that model.
   */
  public static CpuBackend open(Compute compute, int threads, ModelConfig model) {
    return open(
        compute,
        threads,
        CpuTier.selected(),
        new ProductRates.Sizes(model.hiddenSize(), model.intermediateSize()));
  }

  /**
   * Opens a backend on a given tier.
   *
   * @throws UsageException if the processor lacks that tier or the number of threads is negative
   */
  public static CpuBackend open(Compute compute, int threads, CpuTier tier) {
    return open(compute, threads, tier, ProductRates.Sizes.USUAL);
  }

  private static CpuBackend open(
      Compute compute, int threads, CpuTier tier, ProductRates.Sizes sizes) {
    if (!tier.isSupported()) {
      throw new UsageException("this processor has no " + tier.displayName());
    }
    if (threads < 0) {
      throw new UsageException(
          Setting.of("threads") + " " + threads + ": give a positive number, or 0 for all");
    }
    return new CpuBackend(compute, threads == 0 ? CpuCores.available() : threads, tier, sizes);
  }

  @Override
  public DeviceInfo info() {
    return DeviceInfo.inHostMemory(
        DeviceInfo.Kind.CPU,
        String.format(
            Locale.ROOT,
            "cpu (%s, oneDNN %s, %d thread%s)",
            tier.displayName(),
            oneDnnVersion,
            threads,
            threads == 1 ? "" : "s"));
  }

  @Override
  public DType productType(DType weights) {
    return weights == DType.BF16 ? choice.type() : DType.F32;
  }

  @Override
  public String describeProducts(DType weights) {
    return weights == DType.BF16 ? choice.toString() : super.describeProducts(weights);
  }

  /** The measured rate of one thread with bf16 weights, times the number of threads. */
  @Override
  public double operationsPerSecond(DType productType) {
    ProductRates rates = ProductRates.of(tier, sizes);
    return threads
        * switch (productType) {
          case F32 -> rates.f32();
          case BF16 -> rates.bf16();
          case F16 -> 0;
        };
  }

  @Override
  public int hostThreads() {
    return threads;
  }

  @Override
  public void embed(Tensor table, TokenBatch batch, double scale, Tensor out) {
    MemoryBatch tokens = MemoryBatch.of(batch);
    OpChecks.embed(table, batch, tokens.maxToken(), out);
    kernels()
        .embed(
            data(table),
            table.dtype(),
            tokens.tokens(),
            out.rows(),
            out.columns(),
            (float) scale,
            data(out));
  }

  @Override
  public void rmsNorm(Tensor x, Tensor weight, NormSpec norm, Tensor out) {
    OpChecks.rmsNorm(x, weight, out);
    kernels()
        .rmsNorm(
            data(x),
            data(weight),
            weight.dtype(),
            norm,
            x.rows(),
            x.columns(),
            data(out),
            out.dtype());
  }

  @Override
  public void layerNorm(Tensor x, Tensor weight, @Nullable Tensor bias, NormSpec norm, Tensor out) {
    OpChecks.layerNorm(x, weight, bias, out);
    CpuKernels current = kernels();
    // The kernel of the norm adds a bias of the weight's type.
    Tensor added = bias != null && bias.dtype() == weight.dtype() ? bias : null;
    current.layerNorm(
        data(x),
        data(weight),
        added == null ? MemorySegment.NULL : data(added),
        weight.dtype(),
        norm,
        x.rows(),
        x.columns(),
        weight.rows(),
        data(out),
        out.dtype());
    if (bias != null && added == null) {
      long width = bias.elements();
      current.addBias(data(out), data(bias), bias.dtype(), out.elements() / width, width);
    }
  }

  @Override
  public DType inputType(Tensor weight, long rows) {
    return products.inputType(MemoryTensor.of(weight), rows);
  }

  @Override
  protected void narrow(MemoryTensor from, MemoryTensor to) {
    kernels().narrow(from.data(), from.elements(), to.data(), to.dtype());
  }

  @Override
  public void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    OpChecks.linear(x, weight, bias, inputType(weight, x.rows()), out);
    CpuKernels current = kernels();
    MemorySegment wide = unrounded(out);
    products.apply(MemoryTensor.of(x), MemoryTensor.of(weight), wide);
    if (bias != null) {
      current.addBias(wide, data(bias), bias.dtype(), out.rows(), out.columns());
    }
    round(current, wide, out);
  }

  /**
   * Memory for a result in f32, which {@link #round} then rounds: the result's own if it is f32.
   */
  private MemorySegment unrounded(Tensor out) {
    return out.dtype() == DType.F32
        ? data(out)
        : roundedScratch.atLeast(out.elements() * Float.BYTES);
  }

  private static void round(CpuKernels current, MemorySegment wide, Tensor out) {
    if (out.dtype() != DType.F32) {
      current.narrow(wide, out.elements(), data(out), out.dtype());
    }
  }

  @Override
  public void linearTransposed(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    OpChecks.linearTransposed(x, weight, bias, out);
    CpuKernels current = kernels();
    products.applyTransposed(MemoryTensor.of(x), MemoryTensor.of(weight), false, data(out));
    if (bias != null) {
      current.addBias(data(out), data(bias), bias.dtype(), out.rows(), out.columns());
    }
  }

  @Override
  public void rope(
      Tensor x, RotaryPairs layout, int headDim, int table, TokenBatch batch, Tensor out) {
    rotate(x, layout, headDim, table, batch, 1, out);
  }

  /** Rotates by {@code turns} times the angles: 1, or -1, which rotates back. */
  void rotate(
      Tensor x,
      RotaryPairs layout,
      int headDim,
      int table,
      TokenBatch batch,
      float turns,
      Tensor out) {
    OpChecks.rope(x, headDim, table, batch, out);
    MemoryBatch angles = MemoryBatch.of(batch);
    CpuKernels current = kernels();
    MemorySegment heads = unrounded(out);
    if (!out.equals(x)) {
      MemorySegment.copy(data(x), 0, heads, 0, data(x).byteSize());
    }
    current.rope(
        layout,
        heads,
        angles.cosine(table),
        angles.sine(table),
        x.rows(),
        x.columns() / headDim,
        headDim,
        angles.rotaryPairs(),
        turns);
    round(current, heads, out);
  }

  @Override
  public void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out) {
    DType type = keyValueType(spec.products(), spec.headDim());
    long rows = MemoryBatch.of(batch).keys();
    OpChecks.attention(query, key, value, sinks, spec, type, batch, rows, out);
    attend(query, key, value, sinks, spec, batch, out, MemorySegment.NULL);
  }

  /** Attention with checked arguments; {@code logSums} may be null. */
  void attend(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      MemorySegment logSums) {
    MemoryBatch sequences = MemoryBatch.of(batch);
    CpuKernels current = kernels();
    boolean inTiles = multipliesTiles(spec);
    long floats = current.attentionScratch(spec.headDim(), inTiles);
    current.attention(
        inTiles,
        data(query),
        data(key),
        data(value),
        spec.numHeads(),
        spec.numKeyValueHeads(),
        spec.headDim(),
        spec.slidingWindow(),
        spec.scores(),
        slopes(spec),
        sinks == null ? MemorySegment.NULL : wide(current, sinks),
        sequences.offsets(),
        sequences.keyOffsets(),
        sequences.past(),
        batch.sequences().sequences(),
        attentionScratch.atLeast(threads * floats * Float.BYTES),
        data(out),
        logSums);
  }

  /** Whether attention and its gradients multiply tiles of bf16 numbers. */
  boolean multipliesTiles(AttentionSpec spec) {
    return spec.products() == DType.BF16 && kernels().hasTiles();
  }

  /** The elements of a small tensor in f32. */
  private MemorySegment wide(CpuKernels current, Tensor tensor) {
    if (tensor.dtype() == DType.F32) {
      return data(tensor);
    }
    MemorySegment wide = wideScratch.atLeast(tensor.elements() * Float.BYTES);
    current.widen(data(tensor), tensor.dtype(), tensor.elements(), wide);
    return wide;
  }

  /** The slopes of ALiBi; null without. */
  MemorySegment slopes(AttentionSpec spec) {
    return spec.alibi() ? rows(new int[0], spec.slopes()) : MemorySegment.NULL;
  }

  @Override
  public void gatedActivation(Activation activation, Tensor gate, @Nullable Tensor up, Tensor out) {
    OpChecks.gatedActivation(gate, up, out);
    MemorySegment factors = up == null ? MemorySegment.NULL : data(up);
    kernels()
        .gatedActivation(activation, data(gate), factors, out.elements(), data(out), out.dtype());
  }

  @Override
  public void clampedGate(Tensor gateUp, ClampedGate gate, Tensor out) {
    OpChecks.clampedGate(gateUp, out);
    kernels().clampedGate(data(gateUp), out.elements(), gate, data(out));
  }

  @Override
  public void route(
      Tensor logits,
      @Nullable Tensor correction,
      RouterSpec router,
      int[] experts,
      float[] shares) {
    OpChecks.route(logits, correction, router, experts, shares);
    CpuKernels current = kernels();
    long bytes = (long) experts.length * Integer.BYTES;
    MemorySegment scratch = rowScratch.atLeast(2 * bytes);
    MemorySegment indices = scratch.asSlice(0, bytes);
    MemorySegment weights = scratch.asSlice(bytes, bytes);
    current.route(
        data(logits),
        correction == null ? MemorySegment.NULL : wide(current, correction),
        logits.rows(),
        logits.columns(),
        experts.length / logits.rows(),
        router,
        indices,
        weights);
    MemorySegment.copy(indices, JAVA_INT, 0, experts, 0, experts.length);
    MemorySegment.copy(weights, JAVA_FLOAT, 0, shares, 0, shares.length);
  }

  @Override
  public void gather(Tensor x, int[] rows, Tensor out) {
    OpChecks.gather(x, rows, out);
    CpuKernels current = kernels();
    MemorySegment wide = unrounded(out);
    current.embed(data(x), DType.F32, rows(rows), rows.length, x.columns(), 1, wide);
    round(current, wide, out);
  }

  @Override
  public void causalConvolution(
      Tensor x, Tensor weight, TokenBatch batch, @Nullable SequenceStates states, Tensor out) {
    OpChecks.causalConvolution(x, weight, batch, states, out);
    CpuKernels current = kernels();
    long width = weight.columns();
    SequenceStates kept = width > 1 ? states : null;
    current.causalConvolution(
        data(x),
        data(weight),
        x.columns(),
        width,
        MemoryBatch.of(batch),
        kept == null ? MemorySegment.NULL : data(kept.rows()),
        kept == null ? 1 : kept.capacity(),
        convolutionScratch(width),
        data(out));
  }

  /** Scratch memory of a causal convolution by weights of {@code width}, or of its gradient. */
  MemorySegment convolutionScratch(long width) {
    long floats = kernels().causalConvolutionScratch(width);
    return sequenceScratch.atLeast(threads * floats * Float.BYTES);
  }

  @Override
  public void gatedDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      @Nullable SequenceStates states,
      Tensor out) {
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, states, out);
    attendByDelta(heads, decay, rate, logDecay, decayBias, spec, batch, states, out, null);
  }

  /** Attention by the gated delta rule with checked arguments. */
  void attendByDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      @Nullable SequenceStates states,
      Tensor out,
      @Nullable Tensor errors) {
    CpuKernels current = kernels();
    long floats = current.gatedDeltaScratch(spec);
    current.gatedDelta(
        data(heads),
        data(decay),
        data(rate),
        data(logDecay),
        data(decayBias),
        spec,
        MemoryBatch.of(batch),
        states == null ? MemorySegment.NULL : data(states.rows()),
        states == null ? 1 : states.capacity(),
        sequenceScratch.atLeast(threads * floats * Float.BYTES),
        data(out),
        errors == null ? MemorySegment.NULL : data(errors));
  }

  @Override
  public void copyColumns(Tensor x, int from, int count, Tensor out, int to) {
    OpChecks.copyColumns(x, from, count, out, to);
    kernels()
        .copyColumns(
            data(x).asSlice((long) from * DType.F32.byteSize()),
            x.rows(),
            out.rows() / x.rows(),
            x.columns(),
            count,
            out.columns() - to - count,
            data(out).asSlice((long) to * out.dtype().byteSize()),
            out.dtype(),
            out.columns());
  }

  @Override
  public void addRows(Tensor x, int[] rows, float[] factors, Tensor y) {
    OpChecks.addRows(x, rows, factors, y);
    CpuKernels current = kernels();
    MemorySegment indices = rows(rows, factors);
    current.addRows(
        data(x),
        data(y),
        indices,
        indices.asSlice((long) rows.length * Integer.BYTES),
        rows.length,
        x.columns());
  }

  /** Numbers of rows or columns in native memory, followed by their factors. */
  private MemorySegment rows(int[] rows, float... factors) {
    long bytes = (long) rows.length * Integer.BYTES;
    MemorySegment table = rowScratch.atLeast(bytes + (long) factors.length * Float.BYTES);
    MemorySegment.copy(rows, 0, table, JAVA_INT, 0, rows.length);
    MemorySegment.copy(factors, 0, table, JAVA_FLOAT, bytes, factors.length);
    return table;
  }

  @Override
  public void add(Tensor x, Tensor y) {
    OpChecks.add(x, y);
    kernels().add(data(x), data(y), x.elements());
  }

  @Override
  public void multiply(Tensor x, Tensor y, Tensor out) {
    OpChecks.multiply(x, y, out);
    kernels().multiply(data(x), data(y), out.elements(), data(out));
  }

  @Override
  public void mix(List<TensorMix> tensors) {
    CpuKernels current = kernels();
    for (TensorMix mix : tensors) {
      int count = mix.sources().size();
      MemorySegment scratch = mixScratch.atLeast(20L * count);
      MemorySegment coefficients = scratch.asSlice(0, 8L * count);
      MemorySegment sources = scratch.asSlice(8L * count, 8L * count);
      MemorySegment dtypes = scratch.asSlice(16L * count, 4L * count);
      for (int j = 0; j < count; j++) {
        Tensor source = mix.sources().get(j);
        coefficients.setAtIndex(JAVA_DOUBLE, j, mix.coefficients()[j]);
        sources.setAtIndex(ADDRESS, j, data(source));
        dtypes.setAtIndex(JAVA_INT, j, KernelCode.of(source.dtype()));
      }
      Tensor out = mix.out();
      current.mix(data(out), out.dtype(), out.elements(), coefficients, sources, dtypes, count);
    }
  }

  @Override
  public double[] cosine(Tensor reference, Tensor candidates, TokenBatch batch) {
    MemoryBatch tokens = MemoryBatch.of(batch);
    OpChecks.cosine(reference, candidates, batch);
    CpuKernels current = kernels();
    int sequences = batch.sequences().sequences();
    long rows = reference.rows();
    int count = Math.toIntExact(candidates.rows() / rows);
    double[] cosines = new double[count * sequences];
    long sums = 3 * rows;
    MemorySegment scratch = reductionScratch.atLeast((sums + sequences) * Double.BYTES);
    MemorySegment out = scratch.asSlice(sums * Double.BYTES);
    for (int c = 0; c < count; c++) {
      current.cosine(
          data(reference),
          data(candidates.slice(c * rows, (c + 1) * rows)),
          rows,
          reference.columns(),
          tokens.offsets(),
          sequences,
          scratch,
          out);
      MemorySegment.copy(out, JAVA_DOUBLE, 0, cosines, c * sequences, sequences);
    }
    return cosines;
  }

  @Override
  public double[] pairProducts(List<Tensor> tensors, int groups) {
    OpChecks.pairProducts(tensors, groups);
    CpuKernels current = kernels();
    int count = tensors.size();
    long elements = tensors.getFirst().elements() / groups;
    long most = Math.min(elements, PAIR_ELEMENTS);
    // Products of bf16 are exact in f32: nothing is rounded where both factors are bf16.
    DType dtype =
        choice.type() == DType.BF16
                && tensors.stream().allMatch(tensor -> tensor.dtype() == DType.BF16)
            ? DType.BF16
            : DType.F32;
    MemorySegment scratch = reductionScratch.atLeast((most + count) * count * Float.BYTES);
    double[] products = new double[groups * count * count];
    for (int group = 0; group < groups; group++) {
      long end = (group + 1) * elements;
      for (long from = group * elements; from < end; from += most) {
        long size = Math.min(most, end - from);
        MemorySegment sums = scratch.asSlice(0, (long) count * count * Float.BYTES);
        MemorySegment panel = scratch.asSlice(sums.byteSize(), count * size * dtype.byteSize());
        for (int k = 0; k < count; k++) {
          Tensor tensor = tensors.get(k);
          int bytes = tensor.dtype().byteSize();
          MemorySegment piece = data(tensor).asSlice(from * bytes, size * bytes);
          MemorySegment row = panel.asSlice(k * size * dtype.byteSize());
          if (dtype == DType.BF16) {
            MemorySegment.copy(piece, 0, row, 0, piece.byteSize());
          } else {
            current.widen(piece, tensor.dtype(), size, row);
          }
        }
        this.products.rowsByRows(new MemoryTensor(dtype, count, size, panel), sums);
        addSymmetric(sums, products, group, count);
      }
    }
    return products;
  }

  /** Adds the upper triangle of {@code sums [K, K]} to both triangles of a group's products. */
  private static void addSymmetric(MemorySegment sums, double[] products, int group, int count) {
    int start = group * count * count;
    for (int i = 0; i < count; i++) {
      for (int j = i; j < count; j++) {
        products[start + i * count + j] += sums.getAtIndex(JAVA_FLOAT, (long) i * count + j);
        products[start + j * count + i] = products[start + i * count + j];
      }
    }
  }

  @Override
  public void logits(Tensor hidden, Head head, Tensor out) {
    OpChecks.logits(hidden, head, out);
    logits(MemoryTensor.of(hidden), head, MemoryTensor.of(head.weight()), data(out));
  }

  /**
   * Computes the logits of the rows of {@code weight}, which may be a panel of the head. Returns
   * what products are multiplied by for each of these rows, until the next call; null for ones.
   */
  MemorySegment logits(MemoryTensor hidden, Head head, MemoryTensor weight, MemorySegment out) {
    CpuKernels current = kernels();
    products.apply(hidden, weight, out);
    long rows = weight.rows();
    if (head.unitRows()) {
      MemorySegment factors = rowScratch.atLeast(rows * Float.BYTES);
      current.inverseRms(
          data(weight), weight.dtype(), head.leastMeanSquare(), rows, weight.columns(), factors);
      current.logits(out, factors, hidden.rows(), rows, head.byInverseRms());
      return factors;
    }
    if (!head.spec().equals(LogitSpec.PLAIN)) {
      current.logits(out, MemorySegment.NULL, hidden.rows(), rows, head.spec());
    }
    return MemorySegment.NULL;
  }

  @Override
  public void logProbability(Tensor hidden, Head head, TokenBatch batch, double[] out) {
    MemoryBatch sequences = MemoryBatch.of(batch);
    OpChecks.logProbability(hidden, head, batch, sequences.maxToken(), out);
    int tokens = batch.sequences().size();
    for (int from = 0; from < out.length; from += tokens) {
      MemoryTensor states = MemoryTensor.of(hidden).slice(from, from + tokens);
      double[] ofCandidate = logProbability(states, head, sequences);
      System.arraycopy(ofCandidate, 0, out, from, tokens);
    }
  }

  /** The log-probabilities of one candidate. */
  private double[] logProbability(MemoryTensor states, Head head, MemoryBatch sequences) {
    CpuKernels current = kernels();
    MemoryTensor matrix = MemoryTensor.of(head.weight());
    long rows = states.rows();
    long panel = Math.min(matrix.rows(), Math.max(64, LOGITS_BYTES / Float.BYTES / rows));
    MemorySegment scores = logits.atLeast(rows * panel * Float.BYTES);
    MemorySegment state = reductionScratch.atLeast(rows * 16);
    MemorySegment total = state.asSlice(0, rows * 8);
    MemorySegment most = state.asSlice(rows * 8, rows * 4);
    MemorySegment target = state.asSlice(rows * 12, rows * 4);
    for (long row = 0; row < rows; row++) {
      total.setAtIndex(JAVA_DOUBLE, row, 0);
      most.setAtIndex(JAVA_FLOAT, row, Float.NEGATIVE_INFINITY);
    }
    for (long first = 0; first < matrix.rows(); first += panel) {
      long last = Math.min(matrix.rows(), first + panel);
      logits(states, head, matrix.slice(first, last), scores);
      current.logProbability(
          scores, rows, last - first, first, sequences.targets(), most, total, target);
    }
    double[] out = new double[Math.toIntExact(rows)];
    for (int t = 0; t < out.length; t++) {
      boolean scored = sequences.targets().getAtIndex(JAVA_INT, t) >= 0;
      double logit = target.getAtIndex(JAVA_FLOAT, t);
      double largest = most.getAtIndex(JAVA_FLOAT, t);
      out[t] = scored ? logit - largest - Math.log(total.getAtIndex(JAVA_DOUBLE, t)) : 0;
    }
    return out;
  }

  @Override
  public void sample(Tensor logits, double temperature, double[] shares, int[] out) {
    OpChecks.sample(logits, temperature, shares, out);
    long rows = logits.rows();
    long parts = Math.ceilDiv(logits.columns(), SAMPLED_PART);
    MemorySegment memory =
        reductionScratch.atLeast(rows * ((parts + 1) * Double.BYTES + Integer.BYTES));
    MemorySegment from = memory.asSlice(0, rows * Double.BYTES);
    MemorySegment sums = memory.asSlice(rows * Double.BYTES, rows * parts * Double.BYTES);
    MemorySegment tokens = memory.asSlice(rows * (parts + 1) * Double.BYTES);
    MemorySegment.copy(shares, 0, from, JAVA_DOUBLE, 0, shares.length);
    kernels()
        .sample(
            MemoryTensor.of(logits).data(),
            rows,
            logits.columns(),
            temperature == 0 ? 0 : 1 / temperature,
            from,
            sums,
            tokens);
    MemorySegment.copy(tokens, JAVA_INT, 0, out, 0, out.length);
  }

  @Override
  public void klDivergence(
      Tensor hidden, Tensor reference, Head head, TokenBatch batch, double[] out) {
    OpChecks.klDivergence(hidden, reference, head, batch, out);
    int tokens = batch.sequences().size();
    for (int from = 0; from < tokens; from += DIVERGENCE_ROWS) {
      int to = Math.min(tokens, from + DIVERGENCE_ROWS);
      List<MemoryTensor> candidates = new ArrayList<>();
      for (int first = 0; first < out.length; first += tokens) {
        candidates.add(MemoryTensor.of(hidden).slice(first + from, first + to));
      }
      MemorySegment state =
          divergenceState(candidates, MemoryTensor.of(reference).slice(from, to), head);
      for (int c = 0; c < candidates.size(); c++) {
        for (int t = from; t < to; t++) {
          out[c * tokens + t] = DivergenceState.divergence(state, c * (to - from) + t - from);
        }
      }
    }
  }

  /**
   * Computes the {@link DivergenceState} of at most {@link #DIVERGENCE_ROWS} rows of each
   * candidate.
   */
  private MemorySegment divergenceState(
      List<MemoryTensor> candidates, MemoryTensor reference, Head head) {
    CpuKernels current = kernels();
    MemoryTensor matrix = MemoryTensor.of(head.weight());
    long rows = reference.rows();
    long panel = Math.min(matrix.rows(), Math.max(64, LOGITS_BYTES / Float.BYTES / 2 / rows));
    long bytes = rows * panel * Float.BYTES;
    MemorySegment both = logits.atLeast(2 * bytes);
    MemorySegment scores = both.asSlice(0, bytes);
    MemorySegment expected = both.asSlice(bytes, bytes);
    long ofCandidate = rows * DivergenceState.BYTES;
    MemorySegment state = reductionScratch.atLeast(candidates.size() * ofCandidate);
    for (long first = 0; first < matrix.rows(); first += panel) {
      MemoryTensor part = matrix.slice(first, Math.min(matrix.rows(), first + panel));
      logits(reference, head, part, expected);
      for (int c = 0; c < candidates.size(); c++) {
        logits(candidates.get(c), head, part, scores);
        MemorySegment own = state.asSlice(c * ofCandidate, ofCandidate);
        current.klDivergence(scores, expected, rows, part.rows(), first, own);
      }
    }
    return state;
  }

  @Override
  public void crossProduct(Tensor a, Tensor b, Tensor out) {
    OpChecks.crossProduct(a, b, productType(DType.BF16), out);
    kernels();
    products.cross(MemoryTensor.of(a), MemoryTensor.of(b), data(out));
  }

  @Override
  public void addGram(Tensor a, Tensor out) {
    OpChecks.addGram(a, productType(DType.BF16), out);
    kernels();
    products.gram(MemoryTensor.of(a), data(out));
  }

  @Override
  public void inverseRms(Tensor x, double floor, Tensor out) {
    OpChecks.inverseRms(x, out);
    kernels().inverseRms(data(x), DType.F32, floor, x.rows(), x.columns(), data(out));
  }

  @Override
  public void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out) {
    OpChecks.scaledDifference(a, b, scale, out);
    MemorySegment subtracted = b == null ? MemorySegment.NULL : data(b);
    kernels().scaledDifference(data(a), subtracted, data(scale), a.rows(), a.columns(), data(out));
  }

  @Override
  public void gatherColumns(Tensor x, int[] columns, Tensor out, long first) {
    OpChecks.gatherColumns(x, columns, out, first);
    kernels()
        .gatherColumns(
            data(x),
            x.dtype(),
            rows(columns),
            columns.length,
            x.rows(),
            x.columns(),
            out.columns(),
            data(out).asSlice(first * out.dtype().byteSize()));
  }

  @Override
  public void addSquares(Tensor x, Tensor out) {
    OpChecks.addSquares(x, out);
    kernels().addSquares(data(x), x.rows(), x.columns(), data(out));
  }

  @Override
  public @Nullable String missingForTraining() {
    return null;
  }

  @Override
  public TrainingOps training() {
    return training;
  }

  @Override
  public void close() {
    training.close();
    products.close();
    attentionScratch.close();
    sequenceScratch.close();
    rowScratch.close();
    mixScratch.close();
    wideScratch.close();
    roundedScratch.close();
    reductionScratch.close();
    logits.close();
    if (Thread.currentThread().equals(opener)) {
      kernels.setThreads(threadsBefore);
    }
  }

  /**
   * The kernels, after telling OpenMP this backend's number of threads, which OpenMP keeps for each
   * calling thread and which another backend may have changed.
   */
  CpuKernels kernels() {
    kernels.setThreads(threads);
    return kernels;
  }
}
