package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.DeviceInfo;
import dev.laco.ResourceException;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.Head;
import dev.laco.backend.HostSolver;
import dev.laco.backend.KernelCode;
import dev.laco.backend.LinearSolver;
import dev.laco.backend.OpChecks;
import dev.laco.backend.SequenceStates;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * The ops on an NVIDIA GPU: our kernels, and cuBLAS for matrix products. Most ops only queue their
 * work on a stream and return. {@link #cosine}, {@link #logProbability}, {@link #klDivergence},
 * {@link #download} and the systems of {@link #solver} wait until the stream is done; the others
 * wait only if a ring of buffers is full. The backend must be used on the thread that opened it.
 */
public final class CudaBackend implements Backend {
  /**
   * The most rows of activations for which a mixed matrix is not stored, but mixed by the kernel
   * that multiplies by it, on cards with fast f64. It is the number of rows of one block of that
   * kernel, since every block mixes again. By the operation counts in {@code docs/kernels.md} this
   * is faster up to somewhere between 250 and 400 rows on an H100, and up to this number on an
   * A100. It has not been measured on a GPU.
   */
  private static final int FUSED_ROWS = CollapseProduct.ROWS;

  /**
   * The system property that replaces {@link #FUSED_ROWS}, for measurements; with 0 every mixed
   * matrix is stored.
   */
  private static final String FUSED_ROWS_PROPERTY = "laco.cuda.fused-rows";

  /** The largest extent of a CUDA grid in its second and third dimension. */
  private static final int MAX_SEQUENCES = 65_535;

  private static final int BLOCK = 256;

  private static final int WARP = 32;

  /** Tokens that a thread of a causal convolution takes, at least. */
  private static final int CONVOLVED_TOKENS = 16;

  /**
   * The widest keys of the gated delta rule, and threads and columns of values of a block, which
   * has half of the columns where keys are more than half as wide.
   */
  private static final int MOST_KEY = 256;

  private static final int DELTA_BLOCK = 128;
  private static final int DELTA_COLUMNS = 32;

  /** The most threads of a block that the norm kernels allow. */
  private static final int MAX_ROW_BLOCK = 512;

  /** The most tokens of a batch: with more, launches are few beside the work of each. */
  private static final int MOST_BATCH_TOKENS = 8192;

  /** The part of the device's memory, one of so many, that buffers of large batches may take. */
  private static final int BATCH_SHARE = 40;

  /** The share of a device's peak rate that large products of cuBLAS reach. */
  private static final double REACHED = 0.6;

  /** The share of a device's peak memory bandwidth that kernels reach that read much. */
  private static final double REACHED_READING = 0.9;

  private final Compute compute;
  private final String name;
  private final CudaContext context;
  private final CudaStream stream;
  private final Staging staging;
  private final WeightDownloads downloads;
  private final Weights weights;
  private final ArgumentRing arguments;
  private final Launcher launcher;
  private final Cublas cublas;
  private final CudaProducts products;
  private final CudaMixer mixer;
  private final CollapseProduct fused;
  private final int fusedRows;
  private final Scratch routes;
  private final Scratch unrounded;
  private final Scratch keyValues;
  private final CublasLibrary library;
  private final CudaScoring scoring;
  private final CudaTraining training;
  private @Nullable LinearSolver solver;
  private @Nullable String missingForSolver;
  private @Nullable Cusolver cusolver;
  private boolean closed;

  private CudaBackend(
      CudaContext context, Compute compute, KernelImages images, CublasLibrary library) {
    CudaDriver driver = context.driver();
    this.context = context;
    this.compute = compute;
    this.library = library;
    this.stream = context.stream();
    this.launcher = new Launcher(context, images, stream);
    WeightChecks checks = new WeightChecks(context, launcher);
    this.staging = new Staging(context, checks);
    this.downloads = new WeightDownloads(context);
    this.weights = new Weights(context, staging, checks, downloads);
    this.arguments = new ArgumentRing(context, stream);
    this.cublas =
        library.open(
            driver.binding(), stream, new DeviceBuffer(context, Cublas.WORKSPACE_BYTES, "cuBLAS"));
    this.products = new CudaProducts(context, launcher, cublas, compute);
    this.mixer = new CudaMixer(launcher, arguments, context.device());
    this.fused = new CollapseProduct(launcher, arguments, products);
    this.fusedRows =
        context.device().hasFastF64() ? Integer.getInteger(FUSED_ROWS_PROPERTY, FUSED_ROWS) : 0;
    this.routes = new Scratch(context, "experts of tokens");
    this.unrounded = new Scratch(context, "products before they are rounded");
    this.keyValues = new Scratch(context, "rounded keys and values");
    this.scoring = new CudaScoring(this, products, staging, arguments);
    this.training =
        new CudaTraining(
            this,
            scoring,
            products,
            staging,
            new CudaOptimizer(context, launcher, arguments, staging));
    this.name =
        String.format(
            Locale.ROOT,
            "cuda:%d (%s, driver %s, cuBLAS %s, %s)",
            context.device().ordinal(),
            context.device().name(),
            CudaProbe.version(driver.version()),
            library.version(),
            driver.binding());
  }

  /**
   * Opens a backend on a device, for use on the calling thread.
   *
   * @param ordinal number of the device, as the driver counts
   * @throws NoCudaException if this machine or this build has no usable CUDA device
   * @throws dev.laco.ResourceException if there is too little memory
   */
  public static CudaBackend open(Compute compute, int ordinal, CudaBinding binding) {
    return open(compute, ordinal, binding, null);
  }

  /**
   * The same.
   *
   * @param memory bytes of the device that memory which is kept for later use may fill up; null for
   *     most of those that are free
   */
  public static CudaBackend open(
      Compute compute, int ordinal, CudaBinding binding, @Nullable Long memory) {
    CudaDriver driver = CudaProbe.driver(binding);
    CudaDevice device = CudaProbe.device(driver, ordinal);
    KernelImages images = KernelImages.forDriver(driver.version());
    images.require();
    CublasLibrary library = CublasLibrary.find(driver.version());
    CudaContext context = new CudaContext(driver, device);
    try {
      if (memory != null) {
        context.memory().limit(memory);
      }
      return new CudaBackend(context, compute, images, library);
    } catch (RuntimeException e) {
      try {
        context.close();
      } catch (RuntimeException also) {
        e.addSuppressed(also);
      }
      throw e instanceof CudaException cuda && cuda.isOfImage()
          ? new NoCudaException(
              device + " does not run the kernels of this build: " + cuda.getMessage(),
              "update the NVIDIA driver")
          : e;
    }
  }

  /** How many devices the driver sees; 0 where there is no driver that can be used. */
  public static int devices(CudaBinding binding) {
    try {
      return CudaProbe.driver(binding).deviceCount();
    } catch (ResourceException e) {
      return 0;
    }
  }

  /** {@inheritDoc} Where a setting bounds the memory, batches are small. */
  @Override
  public int batchTokens(int least, long bytesPerToken) {
    if (context.memory().isBounded()) {
      return least;
    }
    context.enter();
    long most = context.driver().memory().total() / BATCH_SHARE / bytesPerToken;
    return (int) Math.max(least, Math.min(most, MOST_BATCH_TOKENS) / least * least);
  }

  @Override
  public DeviceInfo info() {
    context.enter();
    return new DeviceInfo(
        DeviceInfo.Kind.CUDA,
        name,
        new DeviceInfo.Memory(
            context.driver().memory().free() + context.memory().idleBytes(),
            REACHED_READING * context.device().bytesPerSecond()));
  }

  @Override
  public Compute compute() {
    return compute;
  }

  @Override
  public DType productType(DType weights) {
    return compute == Compute.AUTO ? weights : DType.F32;
  }

  /** {@inheritDoc} The kernel for other widths of heads calculates in f32. */
  @Override
  public DType keyValueType(DType products, int headDim) {
    return AttentionLaunch.dtype(products, headDim);
  }

  @Override
  public double operationsPerSecond(DType productType) {
    return REACHED * context.device().mostOperationsPerSecond(productType);
  }

  @Override
  public double f64OperationsPerSecond() {
    double slower = context.device().hasFastF64() ? F64_SLOWER : CudaDevice.SLOW_F64;
    return operationsPerSecond(DType.F32) / slower;
  }

  CudaContext context() {
    return context;
  }

  /** The stream that all ops work on. */
  CudaStream stream() {
    return stream;
  }

  Launcher launcher() {
    return launcher;
  }

  /**
   * {@inheritDoc} In {@link Compute#AUTO} a product rounds its activations to 16 bits. Among the
   * f32 {@code buffers} of a forward pass the widest are there twice, and only one of them is
   * rounded at a time, so that a quarter of {@code buffers} is enough. What queries, keys, values
   * and outputs of attention have in it is room for values in f32, to which a bias is added before
   * they are rounded, or for keys and values of f32 that attention rounds.
   */
  @Override
  public long scratchBytes(long buffers) {
    return CudaScoring.LOGITS_BYTES
        + (compute == Compute.F32 ? CudaProducts.PANEL_BYTES : buffers / 4);
  }

  @Override
  public Tensor weight(HostTensor tensor) {
    context.enter();
    return weights.get(tensor);
  }

  @Override
  public void checkFinite(HostTensor tensor, Consumer<Boolean> found) {
    context.enter();
    weights.check(tensor, found);
  }

  @Override
  public Tensor newWeight(HostTensor tensor) {
    context.enter();
    return weights.make(tensor);
  }

  @Override
  public CompletableFuture<Void> fetch(List<HostTensor> tensors) {
    context.enter();
    return weights.fetch(tensors);
  }

  @Override
  public void release(List<HostTensor> tensors) {
    context.enter();
    tensors.forEach(weights::release);
  }

  @Override
  public TensorArena arena() {
    context.enter();
    return new CudaArena(context);
  }

  @Override
  public TokenBatch batch(PackedSequences sequences, int tables, float[] cosine, float[] sine) {
    context.enter();
    if (sequences.sequences() > MAX_SEQUENCES) {
      throw new ResourceException(
          String.format(
              Locale.ROOT,
              "%,d sequences in a batch, on a CUDA device at most %,d; use fewer calibration"
                  + " sentences",
              sequences.sequences(),
              MAX_SEQUENCES));
    }
    return new CudaBatch(sequences, tables, cosine, sine, context, staging);
  }

  @Override
  public void embed(Tensor table, TokenBatch batch, double scale, Tensor out) {
    CudaBatch tokens = CudaBatch.of(batch);
    OpChecks.embed(table, batch, tokens.maxToken(), out);
    begin(Kernel.EMBED, table.dtype())
        .pointer(input(table))
        .pointer(tokens.tokens())
        .pointer(output(out))
        .int64(out.columns())
        .float32((float) scale)
        .int32(KernelCode.of(out.dtype()))
        .run(out.rows(), BLOCK);
  }

  @Override
  public void rmsNorm(Tensor x, Tensor weight, NormSpec norm, Tensor out) {
    OpChecks.rmsNorm(x, weight, out);
    begin(Kernel.RMS_NORM, weight.dtype())
        .pointer(input(x))
        .pointer(input(weight))
        .pointer(output(out))
        .int64(x.columns())
        .float32((float) norm.eps())
        .float32((float) norm.offset())
        .int32(KernelCode.of(out.dtype()))
        .run(x.rows(), rowBlock(x.columns()));
  }

  @Override
  public void addRmsNorm(Tensor x, Tensor y, Tensor weight, NormSpec norm, Tensor out) {
    OpChecks.add(x, y);
    OpChecks.rmsNorm(x, weight, out);
    begin(Kernel.ADD_RMS_NORM, weight.dtype())
        .pointer(output(x))
        .pointer(input(y))
        .pointer(input(weight))
        .pointer(output(out))
        .int64(x.columns())
        .float32((float) norm.eps())
        .float32((float) norm.offset())
        .int32(KernelCode.of(out.dtype()))
        .run(x.rows(), rowBlock(x.columns()));
  }

  @Override
  public void layerNorm(Tensor x, Tensor weight, @Nullable Tensor bias, NormSpec norm, Tensor out) {
    OpChecks.layerNorm(x, weight, bias, out);
    begin(Kernel.LAYER_NORM, weight.dtype())
        .pointer(input(x))
        .pointer(input(weight))
        .pointer(biasOf(weight, bias))
        .pointer(output(out))
        .int64(x.columns())
        .int32(weight.rows())
        .float32((float) norm.eps())
        .float32((float) norm.offset())
        .int32(KernelCode.of(out.dtype()))
        .run(x.rows(), rowBlock(x.columns()));
    addBiasOfOtherType(weight, bias, out);
  }

  @Override
  public void addLayerNorm(
      Tensor x, Tensor y, Tensor weight, @Nullable Tensor bias, NormSpec norm, Tensor out) {
    OpChecks.addLayerNorm(x, y, weight, bias, out);
    begin(Kernel.ADD_LAYER_NORM, weight.dtype())
        .pointer(output(x))
        .pointer(input(y))
        .pointer(input(weight))
        .pointer(biasOf(weight, bias))
        .pointer(output(out))
        .int64(x.columns())
        .float32((float) norm.eps())
        .float32((float) norm.offset())
        .int32(KernelCode.of(out.dtype()))
        .run(x.rows(), rowBlock(x.columns()));
    addBiasOfOtherType(weight, bias, out);
  }

  /** The bias that the kernel of a norm adds, 0 for none: weight and bias have one type there. */
  private static long biasOf(Tensor weight, @Nullable Tensor bias) {
    return bias != null && bias.dtype() == weight.dtype() ? input(bias) : 0;
  }

  private void addBiasOfOtherType(Tensor weight, @Nullable Tensor bias, Tensor out) {
    if (bias != null && bias.dtype() != weight.dtype()) {
      addBias(output(out), bias, out);
    }
  }

  /**
   * Adds a bias to each row of f32, {@code [1, d]}, or to each group of rows, {@code [g, d]}.
   *
   * @param x device address of the rows, which may be that of {@code out}
   */
  private void addBias(long x, Tensor bias, Tensor out) {
    begin(Kernel.ADD_BIAS, bias.dtype())
        .pointer(x)
        .pointer(input(bias))
        .pointer(output(out))
        .int64(out.elements())
        .int64(bias.elements())
        .int32(KernelCode.of(out.dtype()))
        .run(blocks(out.elements()), BLOCK);
  }

  /**
   * Threads of the block that takes a row, in whole warps. Up to 256 threads, each thread takes
   * four elements; for longer rows there are as many threads as are needed for each to keep its
   * elements, at most 16, in registers.
   */
  public static int rowBlock(long columns) {
    return (int)
        Math.min(
            MAX_ROW_BLOCK,
            Math.max(
                Math.min(BLOCK, 32 * Math.ceilDiv(columns, 128)), 32 * Math.ceilDiv(columns, 512)));
  }

  @Override
  public void linear(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    OpChecks.linear(x, weight, bias, inputType(weight, x.rows()), out);
    context.enter();
    // What a product writes in 16 bits is of the type of its factors and has no bias.
    boolean whole =
        out.dtype() == DType.F32 || (bias == null && out.dtype() == productType(weight.dtype()));
    DType type = whole ? out.dtype() : DType.F32;
    long product = whole ? output(out) : unrounded.atLeast(out.elements() * Float.BYTES);
    if (weight instanceof MixedMatrix mixed) {
      fused.apply(CudaTensor.of(x), mixed, type, product);
    } else {
      products.apply(CudaTensor.of(x), CudaTensor.of(weight), type, product);
    }
    if (bias != null) {
      addBias(product, bias, out);
    } else if (!whole) {
      products.narrow(product, out.elements(), out.dtype(), output(out));
    }
  }

  @Override
  public void linearTransposed(Tensor x, Tensor weight, @Nullable Tensor bias, Tensor out) {
    OpChecks.linearTransposed(x, weight, bias, out);
    context.enter();
    products.applyTransposed(CudaTensor.of(x), CudaTensor.of(weight), output(out));
    if (bias != null) {
      addBias(output(out), bias, out);
    }
  }

  @Override
  public void rope(
      Tensor x, RotaryPairs layout, int headDim, int table, TokenBatch batch, Tensor out) {
    rope(x, layout, headDim, table, batch, 1, out);
  }

  /** Rotates; with direction -1 by the negative angles. */
  void rope(
      Tensor x,
      RotaryPairs layout,
      int headDim,
      int table,
      TokenBatch batch,
      float direction,
      Tensor out) {
    OpChecks.rope(x, headDim, table, batch, out);
    CudaBatch angles = CudaBatch.of(batch);
    Kernel kernel = layout == RotaryPairs.HALVES ? Kernel.ROPE : Kernel.ROPE_NEIGHBOURS;
    begin(kernel, DType.F32)
        .pointer(input(x))
        .pointer(angles.cosine(table))
        .pointer(angles.sine(table))
        .pointer(output(out))
        .int32(x.columns() / headDim)
        .int32(headDim)
        .int32(angles.rotaryPairs())
        .float32(direction)
        .int32(KernelCode.of(out.dtype()))
        .run(x.rows(), BLOCK);
  }

  @Override
  public void normRope(
      Tensor x,
      Tensor weight,
      NormSpec norm,
      int headDim,
      int table,
      TokenBatch batch,
      Tensor out) {
    OpChecks.rope(x, headDim, table, batch, out);
    Tensor heads = x.reshape(x.elements() / headDim, headDim);
    OpChecks.rmsNorm(heads, weight, heads);
    CudaBatch angles = CudaBatch.of(batch);
    begin(Kernel.NORM_ROPE, weight.dtype())
        .pointer(input(x))
        .pointer(input(weight))
        .pointer(angles.cosine(table))
        .pointer(angles.sine(table))
        .pointer(output(out))
        .int32(x.columns() / headDim)
        .int32(headDim)
        .int32(angles.rotaryPairs())
        .float32((float) norm.eps())
        .float32((float) norm.offset())
        .int32(KernelCode.of(out.dtype()))
        .run(x.rows(), BLOCK);
  }

  /** {@inheritDoc} In one launch, however many sequences there are. */
  @Override
  public void appendKeyValues(
      Tensor newKey, Tensor newValue, TokenBatch batch, Tensor key, Tensor value) {
    OpChecks.appendKeyValues(newKey, newValue, batch, key, value);
    begin(Kernel.APPEND_KEY_VALUES, DType.F32)
        .pointer(input(newKey))
        .pointer(input(newValue))
        .pointer(CudaBatch.of(batch).keyRows())
        .pointer(output(key))
        .pointer(output(value))
        .int64(key.columns() * key.dtype().byteSize())
        .run(newKey.rows(), 2, 1, BLOCK, 0);
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
    long keys = CudaBatch.of(batch).keys();
    OpChecks.attention(query, key, value, sinks, spec, type, batch, keys, out);
    attention(query, key, value, sinks, spec, batch, out, 0);
  }

  /**
   * Computes attention.
   *
   * @param logSums address of {@code [T, numHeads]}, for the logarithms of the sums of the
   *     exponentials of scores, from which gradients are computed; 0 for none
   */
  void attention(
      Tensor query,
      Tensor key,
      Tensor value,
      @Nullable Tensor sinks,
      AttentionSpec spec,
      TokenBatch batch,
      Tensor out,
      long logSums) {
    AttentionLaunch launch =
        logSums == 0 ? AttentionLaunch.of(spec) : AttentionLaunch.beforeGradient(spec);
    context.enter();
    long room =
        key.dtype() == launch.dtype() && value.dtype() == launch.dtype()
            ? 0
            : keyValues.atLeast(2 * CudaProducts.alignedBytes(key.elements()));
    List<CudaTensor> cached = List.of(CudaTensor.of(key), CudaTensor.of(value));
    long[] read = products.rounded(cached, launch.dtype(), room);
    long slopes = slopes(spec);
    long ofHeads = sinks == null ? 0 : products.wide(CudaTensor.of(sinks));
    begin(launch.kernel(), launch.dtype())
        .pointer(input(query))
        .pointer(read[0])
        .pointer(read[1])
        .pointer(output(out))
        .pointer(logSums)
        .pointer(ofHeads);
    launch.run(launcher, spec, CudaBatch.of(batch), slopes);
  }

  /** The device address of the slopes of ALiBi, 0 without. */
  long slopes(AttentionSpec spec) {
    return spec.alibi() ? table(new int[0], spec.slopes()) : 0;
  }

  @Override
  public void gatedActivation(Activation activation, Tensor gate, @Nullable Tensor up, Tensor out) {
    OpChecks.gatedActivation(gate, up, out);
    begin(Kernel.GATED_ACTIVATION, DType.F32)
        .pointer(input(gate))
        .pointer(up == null ? 0 : input(up))
        .pointer(output(out))
        .int64(out.elements())
        .int32(KernelCode.of(activation))
        .int32(KernelCode.of(out.dtype()))
        .run(blocks(out.elements()), BLOCK);
  }

  @Override
  public void clampedGate(Tensor gateUp, ClampedGate gate, Tensor out) {
    OpChecks.clampedGate(gateUp, out);
    begin(Kernel.CLAMPED_GATE, DType.F32)
        .pointer(input(gateUp))
        .pointer(output(out))
        .int64(out.elements())
        .float32((float) gate.slope())
        .float32((float) gate.limit())
        .run(blocks(out.elements()), BLOCK);
  }

  @Override
  public void route(
      Tensor logits,
      @Nullable Tensor correction,
      RouterSpec router,
      int[] experts,
      float[] shares) {
    OpChecks.route(logits, correction, router, experts, shares);
    context.enter();
    long corrected = correction == null ? 0 : products.wide(CudaTensor.of(correction));
    long bytes = (long) experts.length * Integer.BYTES;
    long indices = routes.atLeast(2 * bytes);
    RouterSpec.Groups groups = router.groupsOrAll();
    begin(Kernel.ROUTE, DType.F32)
        .pointer(input(logits))
        .pointer(corrected)
        .pointer(indices)
        .pointer(indices + bytes)
        .int32(logits.columns())
        .int32(experts.length / logits.rows())
        .int32(router.scores() == RouterSpec.Scores.SIGMOID ? 1 : 0)
        .int32(router.normalised() ? 1 : 0)
        .float32((float) router.factor())
        .float32((float) router.added())
        .int32(groups.count())
        .int32(groups.chosen())
        .int32(groups.best())
        .run(logits.rows(), WARP);
    staging.download(indices, MemorySegment.ofArray(experts), stream);
    staging.download(indices + bytes, MemorySegment.ofArray(shares), stream);
  }

  /** {@inheritDoc} Rows are copied by the kernel of {@link #embed}. */
  @Override
  public void gather(Tensor x, int[] rows, Tensor out) {
    OpChecks.gather(x, rows, out);
    context.enter();
    long table = table(rows);
    begin(Kernel.EMBED, DType.F32)
        .pointer(input(x))
        .pointer(table)
        .pointer(output(out))
        .int64(out.columns())
        .float32(1)
        .int32(KernelCode.of(out.dtype()))
        .run(out.rows(), BLOCK);
  }

  /** {@inheritDoc} The block of a sequence's first tokens alone reads and replaces its states. */
  @Override
  public void causalConvolution(
      Tensor x, Tensor weight, TokenBatch batch, @Nullable SequenceStates states, Tensor out) {
    OpChecks.causalConvolution(x, weight, batch, states, out);
    CudaBatch sequences = CudaBatch.of(batch);
    SequenceStates kept = weight.columns() == 1 ? null : states;
    long run = Math.max(CONVOLVED_TOKENS, weight.columns() - 1);
    begin(Kernel.CAUSAL_CONVOLUTION, DType.F32)
        .pointer(input(x))
        .pointer(input(weight))
        .pointer(sequences.offsets())
        .pointer(sequences.past())
        .pointer(sequences.keyOffsets())
        .pointer(kept == null ? 0 : output(kept.rows()))
        .pointer(output(out))
        .int64(x.columns())
        .int32(weight.columns())
        .int32(kept == null ? 1 : kept.capacity())
        .int32(run)
        .run(
            Math.ceilDiv(x.columns(), BLOCK),
            Math.ceilDiv(sequences.longest(), run),
            sequences.sequences().sequences(),
            BLOCK,
            0);
  }

  /**
   * {@inheritDoc}
   *
   * @throws IllegalArgumentException also if keys are more than 256 wide, for which there are no
   *     kernels
   */
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
    gatedDelta(heads, decay, rate, logDecay, decayBias, spec, batch, states, out, 0);
  }

  /**
   * Linear attention by the gated delta rule.
   *
   * @param errors device address of what a gradient needs of it; 0 for none
   */
  void gatedDelta(
      Tensor heads,
      Tensor decay,
      Tensor rate,
      Tensor logDecay,
      Tensor decayBias,
      DeltaSpec spec,
      TokenBatch batch,
      @Nullable SequenceStates states,
      Tensor out,
      long errors) {
    requireKernels(spec);
    CudaBatch sequences = CudaBatch.of(batch);
    int columns = spec.key() > MOST_KEY / 2 ? DELTA_COLUMNS / 2 : DELTA_COLUMNS;
    Launcher launcher =
        begin(Kernel.GATED_DELTA, DType.F32)
            .pointer(input(heads))
            .pointer(input(decay))
            .pointer(input(rate))
            .pointer(input(logDecay))
            .pointer(input(decayBias))
            .pointer(sequences.offsets())
            .pointer(sequences.past())
            .pointer(sequences.keyOffsets())
            .pointer(states == null ? 0 : output(states.rows()))
            .pointer(output(out))
            .pointer(errors)
            .int32(states == null ? 1 : states.capacity());
    extents(launcher, spec)
        .run(
            Math.ceilDiv(spec.value(), columns),
            spec.valueHeads(),
            sequences.sequences().sequences(),
            DELTA_BLOCK,
            0);
  }

  /** Refuses keys for which there are no kernels. */
  static void requireKernels(DeltaSpec spec) {
    if (spec.key() > MOST_KEY) {
      throw new IllegalArgumentException(
          "keys of the delta rule are "
              + spec.key()
              + " wide; there are kernels for up to "
              + MOST_KEY);
    }
  }

  /** Adds the extents of heads to a launch. */
  static Launcher extents(Launcher launcher, DeltaSpec spec) {
    return launcher
        .int32(spec.keyHeads())
        .int32(spec.valueHeads())
        .int32(spec.key())
        .int32(spec.value());
  }

  @Override
  public void copyColumns(Tensor x, int from, int count, Tensor out, int to) {
    OpChecks.copyColumns(x, from, count, out, to);
    long span = out.columns() - to;
    long elements = out.rows() * span;
    begin(Kernel.COPY_COLUMNS, DType.F32)
        .pointer(input(x) + (long) from * DType.F32.byteSize())
        .pointer(output(out) + (long) to * out.dtype().byteSize())
        .int64(elements)
        .int64(span)
        .int64(count)
        .int64(out.rows() / x.rows())
        .int64(x.columns())
        .int64(out.columns())
        .int32(KernelCode.of(out.dtype()))
        .run(blocks(elements), BLOCK);
  }

  @Override
  public void addRows(Tensor x, int[] rows, float[] factors, Tensor y) {
    OpChecks.addRows(x, rows, factors, y);
    context.enter();
    long table = table(rows, factors);
    begin(Kernel.ADD_ROWS, DType.F32)
        .pointer(output(x))
        .pointer(input(y))
        .pointer(table)
        .pointer(table + (long) rows.length * Integer.BYTES)
        .int64(x.columns())
        .run(rows.length, BLOCK);
  }

  /** The device address of numbers of rows or columns, followed by their factors. */
  private long table(int[] rows, float... factors) {
    long bytes = (long) rows.length * Integer.BYTES;
    ArgumentRing.Table table = arguments.table(bytes + (long) factors.length * Float.BYTES);
    MemorySegment.copy(rows, 0, table.memory(), JAVA_INT, 0, rows.length);
    MemorySegment.copy(factors, 0, table.memory(), JAVA_FLOAT, bytes, factors.length);
    table.send();
    return table.address();
  }

  @Override
  public void add(Tensor x, Tensor y) {
    OpChecks.add(x, y);
    begin(Kernel.ADD, DType.F32)
        .pointer(output(x))
        .pointer(input(y))
        .int64(x.elements())
        .run(blocks(x.elements()), BLOCK);
  }

  @Override
  public void multiply(Tensor x, Tensor y, Tensor out) {
    OpChecks.multiply(x, y, out);
    begin(Kernel.MULTIPLY, DType.F32)
        .pointer(input(x))
        .pointer(input(y))
        .pointer(output(out))
        .int64(out.elements())
        .run(blocks(out.elements()), BLOCK);
  }

  /** {@inheritDoc} Tensors of one dtype are made by one launch. */
  @Override
  public void mix(List<TensorMix> tensors) {
    context.enter();
    mixer.mix(tensors);
  }

  @Override
  public List<Tensor> mixed(List<TensorMix> tensors, long tokens) {
    List<Tensor> results = new ArrayList<>();
    List<TensorMix> stored = new ArrayList<>();
    for (TensorMix tensor : tensors) {
      List<CudaTensor> sources = tensor.sources().stream().map(CudaTensor::of).toList();
      if (tokens <= fusedRows && compute == Compute.AUTO && isHalfMatrix(tensor.out(), sources)) {
        results.add(new MixedMatrix(tensor, sources));
      } else {
        results.add(tensor.out());
        stored.add(tensor);
      }
    }
    if (!stored.isEmpty()) {
      mix(stored);
    }
    return results;
  }

  private static boolean isHalfMatrix(Tensor out, List<CudaTensor> sources) {
    return out.rows() > 1
        && out.dtype() != DType.F32
        && sources.stream().allMatch(source -> source.dtype() == out.dtype());
  }

  @Override
  public void logits(Tensor hidden, Head head, Tensor out) {
    scoring.logits(hidden, head, out);
  }

  @Override
  public double[] cosine(Tensor reference, Tensor candidates, TokenBatch batch) {
    return scoring.cosine(reference, candidates, batch);
  }

  @Override
  public double[] pairProducts(List<Tensor> tensors, int groups) {
    return scoring.pairProducts(tensors, groups);
  }

  @Override
  public void logProbability(Tensor hidden, Head head, TokenBatch batch, double[] out) {
    scoring.logProbability(hidden, head, batch, out);
  }

  @Override
  public void klDivergence(
      Tensor hidden, Tensor reference, Head head, TokenBatch batch, double[] out) {
    scoring.klDivergence(hidden, reference, head, batch, out);
  }

  @Override
  public void sample(Tensor logits, double temperature, double[] shares, int[] out) {
    scoring.sample(logits, temperature, shares, out);
  }

  @Override
  public void crossProduct(Tensor a, Tensor b, Tensor out) {
    OpChecks.crossProduct(a, b, productType(DType.BF16), out);
    context.enter();
    products.cross(CudaTensor.of(a), CudaTensor.of(b), CudaTensor.of(out));
  }

  @Override
  public void addGram(Tensor a, Tensor out) {
    OpChecks.addGram(a, productType(DType.BF16), out);
    context.enter();
    products.gram(CudaTensor.of(a), CudaTensor.of(out));
  }

  @Override
  public void quadraticForms(Tensor x, Tensor symmetric, Tensor out) {
    OpChecks.quadraticForms(x, symmetric, out);
    context.enter();
    products.quadraticForms(CudaTensor.of(x), CudaTensor.of(symmetric), CudaTensor.of(out));
  }

  @Override
  public void squareOfTriangle(Tensor triangle, Tensor out) {
    OpChecks.squareOfTriangle(triangle, out);
    context.enter();
    products.squareOfTriangle(CudaTensor.of(triangle), CudaTensor.of(out));
  }

  @Override
  public void inverseRms(Tensor x, double floor, Tensor out) {
    OpChecks.inverseRms(x, out);
    context.enter();
    inverseRms(x, floor, output(out));
  }

  /** The same at an address. */
  void inverseRms(Tensor x, double floor, long out) {
    launcher
        .of(Kernel.INVERSE_RMS, x.dtype())
        .pointer(input(x))
        .pointer(out)
        .int64(x.columns())
        .float32((float) floor)
        .run(x.rows(), rowBlock(x.columns()));
  }

  @Override
  public void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out) {
    OpChecks.scaledDifference(a, b, scale, out);
    begin(Kernel.SCALED_DIFFERENCE, DType.F32)
        .pointer(input(a))
        .pointer(b == null ? 0 : input(b))
        .pointer(input(scale))
        .pointer(output(out))
        .int64(out.elements())
        .int64(out.columns())
        .run(blocks(out.elements()), BLOCK);
  }

  @Override
  public void gatherColumns(Tensor x, int[] columns, Tensor out, long first) {
    OpChecks.gatherColumns(x, columns, out, first);
    context.enter();
    long table = table(columns);
    begin(Kernel.GATHER_COLUMNS, x.dtype())
        .pointer(input(x))
        .pointer(table)
        .pointer(output(out) + first * out.dtype().byteSize())
        .int64(columns.length)
        .int64(x.columns())
        .int64(out.columns())
        .run(x.rows(), BLOCK);
  }

  @Override
  public void addSquares(Tensor x, Tensor out) {
    OpChecks.addSquares(x, out);
    begin(Kernel.ADD_SQUARES, DType.F32)
        .pointer(input(x))
        .pointer(output(out))
        .int64(x.rows())
        .int64(x.columns())
        .run(Math.ceilDiv(x.columns(), 32), BLOCK);
  }

  @Override
  public @Nullable String missingForSolver() {
    findSolver();
    return missingForSolver;
  }

  /** {@inheritDoc} It uses cuSOLVER if this machine has it, else OpenBLAS on the host. */
  @Override
  public LinearSolver solver() {
    findSolver();
    if (solver == null) {
      throw new IllegalStateException(missingForSolver);
    }
    return solver;
  }

  /** Looks for a solver at the first call: cuSOLVER is large, and most jobs solve nothing. */
  private void findSolver() {
    if (solver != null || missingForSolver != null) {
      return;
    }
    context.enter();
    CusolverLibrary found;
    try {
      found = CusolverLibrary.find(library);
    } catch (ResourceException noCusolver) {
      String noOpenBlas = HostSolver.missing();
      if (noOpenBlas == null) {
        solver = new HostSolver(this, "OpenBLAS on the host, since there is no cuSOLVER");
      } else {
        missingForSolver = noCusolver.template() + "; " + noOpenBlas;
      }
      return;
    }
    cusolver = new Cusolver(found.functions(), stream);
    solver = new CudaSolver(context, stream, launcher, staging, cublas, cusolver, found.version());
  }

  @Override
  public void copy(Tensor from, Tensor to) {
    OpChecks.copy(from, to);
    context.enter();
    CudaTensor source = CudaTensor.of(from);
    if (from.dtype() != to.dtype()) {
      products.narrow(source.input(), source.elements(), to.dtype(), output(to));
      return;
    }
    context.driver().copy(output(to), source.input(), source.bytes(), stream.handle());
  }

  @Override
  public void download(Tensor from, float[] to) {
    OpChecks.transfer(from, to);
    context.enter();
    staging.download(input(from), MemorySegment.ofArray(to), stream);
  }

  @Override
  public void download(Tensor from, HostTensor to) {
    OpChecks.transfer(from, to);
    context.enter();
    staging.download(input(from), to.data(), stream);
  }

  @Override
  public void upload(float[] from, Tensor to) {
    OpChecks.transfer(to, from);
    context.enter();
    staging.upload(MemorySegment.ofArray(from), output(to), stream);
  }

  @Override
  public void zero(Tensor to) {
    context.enter();
    long bytes = to.elements() * to.dtype().byteSize();
    context.driver().zero(output(to), bytes, stream.handle());
  }

  @Override
  public TrainingOps training() {
    return training;
  }

  /** Frees everything that was made by this backend. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    context.requireOwner();
    closed = true;
    downloads.close();
    try {
      closeLibraries();
    } catch (CudaException e) {
      if (!context.driver().isPoisoned()) {
        throw e;
      }
    } finally {
      context.close();
    }
  }

  private void closeLibraries() {
    try {
      if (cusolver != null) {
        cusolver.close();
      }
    } finally {
      cublas.close();
    }
  }

  Launcher begin(Kernel kernel, DType dtype) {
    context.enter();
    return launcher.of(kernel, dtype);
  }

  static long input(Tensor tensor) {
    return CudaTensor.of(tensor).input();
  }

  static long output(Tensor tensor) {
    return CudaTensor.of(tensor).output();
  }

  /** Blocks of an elementwise kernel, whose blocks take 1024 elements each. */
  static long blocks(long elements) {
    return Math.ceilDiv(elements, 1024);
  }
}
