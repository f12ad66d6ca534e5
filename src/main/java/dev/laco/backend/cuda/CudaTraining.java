package dev.laco.backend.cuda;

import static dev.laco.backend.cuda.CudaBackend.blocks;
import static dev.laco.backend.cuda.CudaBackend.input;
import static dev.laco.backend.cuda.CudaBackend.output;
import static dev.laco.backend.cuda.CudaBackend.rowBlock;

import dev.laco.backend.AttentionSpec;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.DivergenceState;
import dev.laco.backend.Head;
import dev.laco.backend.KernelCode;
import dev.laco.backend.OpChecks;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.RotaryPairs;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The ops of training on an NVIDIA GPU: our kernels, and cuBLAS for matrix products. {@link
 * #distillationLoss} and {@link #sumsOfSquares} wait until the stream is done; the others only
 * queue their work.
 */
final class CudaTraining implements TrainingOps {
  private static final int BLOCK = 256;
  private static final int WARP = 32;

  /** Rows whose columns one block of the kernel of sums adds up. */
  private static final long SUMMED_ROWS = 256;

  /** Tokens of whose convolution a thread adds up the gradient by weights, at least. */
  private static final long CONVOLVED_TOKENS = 16;

  /** Elements of the partial sums of a norm's weight: parts of the rows times columns. */
  private static final long PARTIAL_ELEMENTS = 1L << 20;

  private static final long LEAST_PARTS = 64;
  private static final long MOST_PARTS = 1024;

  /**
   * Bytes of the logits of {@link #distillationLoss}, of both models. Of a vocabulary of 152,000
   * these are 441 rows. The products of so many rows with a head take an H100 longer than reading
   * the head does.
   */
  private static final long LOGITS_BYTES = 512L << 20;

  private final CudaBackend backend;
  private final CudaScoring scoring;
  private final CudaProducts products;
  private final Staging staging;
  private final CudaOptimizer optimizer;
  private final Scratch sums;
  private final Scratch logits;
  private final Scratch states;
  private final Scratch commons;

  CudaTraining(
      CudaBackend backend,
      CudaScoring scoring,
      CudaProducts products,
      Staging staging,
      CudaOptimizer optimizer) {
    this.backend = backend;
    this.scoring = scoring;
    this.products = products;
    this.staging = staging;
    this.optimizer = optimizer;
    this.sums = new Scratch(backend.context(), "sums of columns");
    this.logits = new Scratch(backend.context(), "logits of a loss, or gradients of heads");
    this.states = new Scratch(backend.context(), "losses");
    this.commons = new Scratch(backend.context(), "gradients of attention");
  }

  /**
   * {@inheritDoc} They are the logits of a loss, in whose place the gradients of linear attention
   * are summed up; their gradients in bf16; and a panel of an f16 weight. Other partial sums are
   * small.
   */
  @Override
  public long scratchBytes(long tokens, long vocabulary) {
    return LOGITS_BYTES + LOGITS_BYTES / 4 + CudaProducts.PANEL_BYTES;
  }

  /**
   * {@inheritDoc} It is bf16 for f16 weights, too: f16 has no numbers as small as gradients are.
   */
  @Override
  public DType gradientType(Tensor weight) {
    return backend.productType(weight.dtype()) == DType.F32 ? DType.F32 : DType.BF16;
  }

  @Override
  public void linearGradient(Tensor gradient, Tensor weight, boolean add, Tensor out) {
    OpChecks.linearGradient(gradient, weight, gradientType(weight), out);
    backend.context().enter();
    products.back(
        gradient.dtype(),
        input(gradient),
        gradient.rows(),
        CudaTensor.of(weight),
        add,
        output(out));
  }

  @Override
  public void addColumns(Tensor x, Tensor out) {
    OpChecks.addColumns(x, out);
    long parts = Math.ceilDiv(x.rows(), SUMMED_ROWS);
    if (parts == 1) {
      columnSums(input(x), x.rows(), x.columns(), x.rows(), true, output(out));
    } else {
      long partial = sums.atLeast(parts * x.columns() * Float.BYTES);
      columnSums(input(x), x.rows(), x.columns(), SUMMED_ROWS, false, partial);
      columnSums(partial, parts, x.columns(), parts, true, output(out));
    }
  }

  /**
   * Sums up the columns of {@code x [rows, columns]}, a row of sums for every {@code part} rows.
   *
   * @param adds whether the sums are added to what {@code out} holds
   */
  private void columnSums(long x, long rows, long columns, long part, boolean adds, long out) {
    backend
        .begin(Kernel.COLUMN_SUMS, DType.F32)
        .pointer(x)
        .pointer(out)
        .int64(rows)
        .int64(columns)
        .int64(part)
        .int32(adds ? 1 : 0)
        .run(Math.ceilDiv(columns, WARP), Math.ceilDiv(rows, part), 1, BLOCK, 0);
  }

  @Override
  public void rmsNormGradient(
      Tensor x, Tensor weight, NormSpec norm, Tensor gradient, Tensor weightGradient, Tensor out) {
    OpChecks.rmsNormGradient(x, weight, gradient, weightGradient, out);
    Parts parts = Parts.of(x, weight);
    long partial = sums.atLeast(parts.count * weight.elements() * Float.BYTES);
    backend
        .begin(Kernel.RMS_NORM_GRADIENT, weight.dtype())
        .pointer(input(x))
        .pointer(input(weight))
        .pointer(input(gradient))
        .pointer(partial)
        .pointer(output(out))
        .int64(x.rows())
        .int64(parts.rows)
        .int64(x.columns())
        .float32((float) norm.eps())
        .float32((float) norm.offset())
        .run(parts.count, rowBlock(x.columns()));
    columnSums(partial, parts.count, weight.elements(), parts.count, true, output(weightGradient));
  }

  @Override
  public void layerNormGradient(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      Tensor gradient,
      Tensor weightGradient,
      @Nullable Tensor biasGradient,
      Tensor out) {
    OpChecks.layerNormGradient(x, weight, gradient, weightGradient, biasGradient, out);
    Parts parts = Parts.of(x, weight);
    long elements = parts.count * weight.elements();
    long partial = sums.atLeast((biasGradient == null ? 1 : 2) * elements * Float.BYTES);
    long biasPartial = biasGradient == null ? 0 : partial + elements * Float.BYTES;
    backend
        .begin(Kernel.LAYER_NORM_GRADIENT, weight.dtype())
        .pointer(input(x))
        .pointer(input(weight))
        .pointer(input(gradient))
        .pointer(partial)
        .pointer(biasPartial)
        .pointer(output(out))
        .int64(x.rows())
        .int64(parts.rows)
        .int64(x.columns())
        .float32((float) norm.eps())
        .float32((float) norm.offset())
        .run(parts.count, weight.rows(), 1, rowBlock(x.columns()), 0);
    columnSums(partial, parts.count, weight.elements(), parts.count, true, output(weightGradient));
    if (biasGradient != null) {
      columnSums(
          biasPartial, parts.count, weight.elements(), parts.count, true, output(biasGradient));
    }
  }

  /**
   * The parts of rows, of each of which one block makes partial sums.
   *
   * @param rows of a part that have the same row of weights
   */
  private record Parts(long count, long rows) {
    static Parts of(Tensor x, Tensor weight) {
      return of(x.rows() / weight.rows(), weight.elements(), 1);
    }

    /**
     * The same.
     *
     * @param sums of each part
     * @param least rows of a part
     */
    static Parts of(long all, long sums, long least) {
      long fit = Math.clamp(PARTIAL_ELEMENTS / sums, LEAST_PARTS, MOST_PARTS);
      long rows = Math.max(Math.ceilDiv(all, fit), least);
      return new Parts(Math.ceilDiv(all, rows), rows);
    }
  }

  @Override
  public void ropeGradient(
      Tensor gradient, RotaryPairs layout, int headDim, int table, TokenBatch batch) {
    backend.rope(gradient, layout, headDim, table, batch, -1, gradient);
  }

  @Override
  public void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums) {
    long keys = CudaBatch.of(batch).keys();
    OpChecks.attention(query, key, value, sinks, spec, batch, keys, out, logSums);
    backend.attention(query, key, value, sinks, spec, batch, out, output(logSums));
  }

  @Override
  public void attentionGradient(
      Tensor query,
      Tensor key,
      Tensor value,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      Tensor logSums,
      Tensor gradient,
      Tensor queryGradient,
      Tensor keyGradient,
      Tensor valueGradient) {
    CudaBatch sequences = CudaBatch.of(batch);
    OpChecks.attentionGradient(
        query,
        key,
        value,
        spec,
        batch,
        sequences.keys(),
        out,
        logSums,
        gradient,
        queryGradient,
        keyGradient,
        valueGradient);
    backend.context().enter();
    long common = commons.atLeast(logSums.elements() * Float.BYTES);
    rowProducts(input(gradient), input(out), logSums.elements(), spec.headDim(), common);
    long slopes = backend.slopes(spec);
    List<Tensor> factors = List.of(query, key, value, gradient);
    long[] multiplied =
        AttentionLaunch.ofGradient(spec, true).dtype() == DType.F32
            ? factors.stream().mapToLong(CudaBackend::input).toArray()
            : products.rounded(factors.stream().map(CudaTensor::of).toList());
    for (boolean keys : new boolean[] {true, false}) {
      AttentionLaunch launch = AttentionLaunch.ofGradient(spec, keys);
      Launcher launcher = backend.begin(launch.kernel(), launch.dtype());
      for (long factor : multiplied) {
        launcher.pointer(factor);
      }
      launcher.pointer(input(logSums)).pointer(common);
      if (keys) {
        launcher.pointer(output(keyGradient)).pointer(output(valueGradient));
      } else {
        launcher.pointer(output(queryGradient));
      }
      launch.run(launcher, spec, sequences, slopes);
    }
  }

  @Override
  public void causalConvolutionGradient(
      Tensor x,
      Tensor weight,
      TokenBatch batch,
      Tensor gradient,
      @Nullable Tensor weightGradient,
      Tensor out) {
    OpChecks.causalConvolutionGradient(x, weight, batch, gradient, weightGradient, out);
    CudaBatch sequences = CudaBatch.of(batch);
    Parts parts = Parts.of(x.rows(), weight.elements(), CONVOLVED_TOKENS);
    long partial =
        weightGradient == null ? 0 : sums.atLeast(parts.count * weight.elements() * Float.BYTES);
    backend
        .begin(Kernel.CAUSAL_CONVOLUTION_GRADIENT, DType.F32)
        .pointer(input(x))
        .pointer(input(weight))
        .pointer(sequences.offsets())
        .pointer(input(gradient))
        .pointer(partial)
        .pointer(output(out))
        .int64(x.columns())
        .int32(weight.columns())
        .int32(sequences.sequences().sequences())
        .int32(parts.rows)
        .run(Math.ceilDiv(x.columns(), BLOCK), parts.count, 1, BLOCK, 0);
    if (weightGradient != null) {
      columnSums(
          partial, parts.count, weight.elements(), parts.count, true, output(weightGradient));
    }
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
      Tensor out,
      Tensor errors) {
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, out);
    OpChecks.gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, null, errors);
    backend.gatedDelta(
        heads, decay, rate, logDecay, decayBias, spec, batch, null, out, output(errors));
  }

  /**
   * {@inheritDoc} Sums over the columns of values lie where the logits of a loss do. Where not all
   * heads have room there, it goes through some heads after the other.
   */
  @Override
  public void gatedDeltaGradient(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      Tensor errors,
      Tensor gradient,
      Tensor headsGradient,
      Tensor decayGradient,
      Tensor rateGradient,
      Tensor logDecayGradient) {
    OpChecks.gatedDeltaGradient(
        heads,
        decay,
        rate,
        logDecay,
        decayBias,
        spec,
        batch,
        errors,
        gradient,
        headsGradient,
        decayGradient,
        rateGradient,
        logDecayGradient);
    CudaBackend.requireKernels(spec);
    CudaBatch sequences = CudaBatch.of(batch);
    int count = sequences.sequences().sequences();
    long tokens = heads.rows();
    long bytesOfHead = tokens * spec.group() * (2L * spec.key() + 1) * Float.BYTES;
    int most = Math.clamp(LOGITS_BYTES / bytesOfHead, 1, spec.keyHeads());
    long byQueries = logits.atLeast(most * bytesOfHead);
    for (int first = 0; first < spec.keyHeads(); first += most) {
      int keyHeads = Math.min(most, spec.keyHeads() - first);
      int valueHeads = keyHeads * spec.group();
      int firstValueHead = first * spec.group();
      long byKeys = byQueries + tokens * valueHeads * spec.key() * Float.BYTES;
      long terms = byKeys + tokens * valueHeads * spec.key() * Float.BYTES;
      for (boolean values : new boolean[] {true, false}) {
        Launcher launcher =
            backend
                .begin(
                    values ? Kernel.GATED_DELTA_GRADIENT_VALUES : Kernel.GATED_DELTA_GRADIENT_KEYS,
                    DType.F32)
                .pointer(input(heads))
                .pointer(input(decay))
                .pointer(input(rate))
                .pointer(input(logDecay))
                .pointer(input(decayBias))
                .pointer(input(errors))
                .pointer(input(gradient))
                .pointer(sequences.offsets())
                .pointer(values ? output(headsGradient) : input(headsGradient))
                .pointer(values ? output(rateGradient) : byQueries)
                .pointer(byKeys)
                .pointer(terms)
                .int32(firstValueHead);
        CudaBackend.extents(launcher, spec).run(valueHeads, count, 1, BLOCK, 0);
      }
      Launcher launcher =
          backend
              .begin(Kernel.GATED_DELTA_GRADIENT_HEADS, DType.F32)
              .pointer(input(heads))
              .pointer(byQueries)
              .pointer(byKeys)
              .pointer(output(headsGradient))
              .int64(tokens)
              .int32(first)
              .int32(keyHeads);
      CudaBackend.extents(launcher, spec).run(Math.ceilDiv(tokens * keyHeads, BLOCK / WARP), BLOCK);
      backend
          .begin(Kernel.GATED_DELTA_GRADIENT_DECAYS, DType.F32)
          .pointer(terms)
          .pointer(input(decay))
          .pointer(input(logDecay))
          .pointer(input(decayBias))
          .pointer(sequences.offsets())
          .pointer(output(decayGradient))
          .pointer(output(logDecayGradient))
          .int32(firstValueHead)
          .int32(valueHeads)
          .int32(spec.valueHeads())
          .run(Math.ceilDiv(valueHeads, BLOCK / WARP), count, 1, BLOCK, 0);
    }
  }

  @Override
  public void gatedGradients(
      Activation activation, Tensor gate, @Nullable Tensor up, Tensor gradient) {
    OpChecks.gatedGradients(gate, up, gradient);
    backend
        .begin(Kernel.GATED_GRADIENTS, DType.F32)
        .pointer(output(gate))
        .pointer(up == null ? 0 : output(up))
        .pointer(input(gradient))
        .int64(gate.elements())
        .int32(KernelCode.of(activation))
        .run(blocks(gate.elements()), BLOCK);
  }

  @Override
  public void clampedGateGradients(Tensor gateUp, ClampedGate gate, Tensor gradient) {
    OpChecks.clampedGateGradients(gateUp, gradient);
    backend
        .begin(Kernel.CLAMPED_GATE_GRADIENTS, DType.F32)
        .pointer(output(gateUp))
        .pointer(input(gradient))
        .int64(gradient.elements())
        .float32((float) gate.slope())
        .float32((float) gate.limit())
        .run(blocks(gradient.elements()), BLOCK);
  }

  @Override
  public void rowProducts(Tensor a, Tensor b, Tensor out) {
    OpChecks.rowProducts(a, b, out);
    rowProducts(input(a), input(b), a.rows(), a.columns(), output(out));
  }

  private void rowProducts(long a, long b, long rows, long columns, long out) {
    backend
        .begin(Kernel.ROW_PRODUCTS, DType.F32)
        .pointer(a)
        .pointer(b)
        .pointer(out)
        .int64(columns)
        .run(rows, rowBlock(columns));
  }

  /** {@inheritDoc} It computes {@link #LOGITS_BYTES} of logits at a time, of whole rows. */
  @Override
  public void distillationLoss(
      Tensor hidden,
      Tensor reference,
      Head head,
      TokenBatch batch,
      double labelShare,
      double scale,
      double[] losses,
      Tensor gradient) {
    CudaBatch tokens = CudaBatch.of(batch);
    OpChecks.distillationLoss(
        hidden, reference, head, batch, tokens.maxToken(), labelShare, losses, gradient);
    backend.context().enter();
    CudaTensor matrix = CudaTensor.of(head.weight());
    long most = Math.max(1, LOGITS_BYTES / 2 / Float.BYTES / matrix.rows());
    long rows = Math.min(hidden.rows(), most);
    long bytes = rows * matrix.rows() * Float.BYTES;
    long scores = logits.atLeast(2 * bytes);
    long state = states.atLeast(rows * DivergenceState.BYTES + hidden.rows() * Double.BYTES);
    long results = state + rows * DivergenceState.BYTES;
    LogitSpec spec = head.unitRows() ? head.byInverseRms() : head.spec();
    for (long from = 0; from < hidden.rows(); from += rows) {
      long to = Math.min(hidden.rows(), from + rows);
      scoring.logits(CudaTensor.of(hidden).slice(from, to), head, matrix, scores);
      scoring.logits(CudaTensor.of(reference).slice(from, to), head, matrix, scores + bytes);
      long factors = head.unitRows() ? scoring.inverseRms(matrix, head.leastMeanSquare()) : 0;
      backend
          .begin(Kernel.KL_DIVERGENCE, DType.F32)
          .pointer(scores)
          .pointer(scores + bytes)
          .pointer(state)
          .int64(matrix.rows())
          .int64(0)
          .run(to - from, BLOCK);
      backend
          .begin(Kernel.DISTILLATION, DType.F32)
          .pointer(scores)
          .pointer(scores + bytes)
          .pointer(state)
          .pointer(tokens.targets() + from * Integer.BYTES)
          .pointer(factors)
          .pointer(results + from * Double.BYTES)
          .int64(matrix.rows())
          .float32((float) labelShare)
          .float32((float) (scale * spec.scale()))
          .float32((float) spec.softCap())
          .run(to - from, BLOCK);
      products.back(
          DType.F32,
          scores,
          to - from,
          matrix,
          false,
          output(CudaTensor.of(gradient).slice(from, to)));
    }
    staging.download(results, MemorySegment.ofArray(losses), backend.stream());
  }

  @Override
  public double[] sumsOfSquares(List<Tensor> tensors) {
    OpChecks.sumsOfSquares(tensors);
    return optimizer.sumsOfSquares(tensors);
  }

  @Override
  public void dampings(Damping step, List<Tensor> gradients, Tensor running, Tensor out) {
    OpChecks.dampings(gradients, running, out);
    optimizer.dampings(step, gradients, running, out);
  }

  @Override
  public void adamW(List<Update> updates) {
    OpChecks.adamW(updates);
    optimizer.adamW(updates);
  }

  @Override
  public void adamW8Bit(List<Update8Bit> updates) {
    OpChecks.adamW8Bit(updates);
    optimizer.adamW8Bit(updates);
  }
}
