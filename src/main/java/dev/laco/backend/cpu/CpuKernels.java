package dev.laco.backend.cpu;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.backend.DeltaSpec;
import dev.laco.backend.KernelCode;
import dev.laco.backend.MemoryBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * Our C++ kernels of one tier. Native code trusts its arguments, so that callers must have checked
 * all bounds. The prototypes below leave out the suffix of a function's name that numbers the tier.
 */
final class CpuKernels {
  /** The number that {@code laco_abi} returns in a library that fits the prototypes below. */
  private static final int ABI = 19;

  private static final String[] STATUS = {"success", "unknown dtype", "unknown activation"};

  /** {@code int32_t laco_abi(void)}. */
  private static final MethodHandle ABI_QUERY = Downcalls.ofInt();

  /** {@code void laco_set_threads(int32_t threads)}. */
  private static final MethodHandle SET_THREADS = Downcalls.ofVoid(JAVA_INT);

  /** {@code int32_t laco_threads(void)}. */
  private static final MethodHandle THREADS = Downcalls.ofInt();

  /** {@code int32_t laco_use_tiles(void)}. */
  private static final MethodHandle USE_TILES = Downcalls.ofInt();

  /** {@code int64_t laco_attention_scratch(int64_t width)}. */
  private static final MethodHandle ATTENTION_SCRATCH = Downcalls.ofLong(JAVA_LONG);

  /**
   * {@code int32_t laco_embed(const void *table, int32_t dtype, const int32_t *tokens, int64_t
   * rows, int64_t width, float scale, float *out)}.
   */
  private static final MethodHandle EMBED =
      Downcalls.ofInt(ADDRESS, JAVA_INT, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_FLOAT, ADDRESS);

  /**
   * {@code int32_t laco_rms_norm(const float *x, const void *weight, int32_t dtype, double eps,
   * float offset, int64_t rows, int64_t width, void *out, int32_t out_dtype)}.
   */
  private static final MethodHandle RMS_NORM =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          JAVA_INT,
          JAVA_DOUBLE,
          JAVA_FLOAT,
          JAVA_LONG,
          JAVA_LONG,
          ADDRESS,
          JAVA_INT);

  /**
   * {@code int32_t laco_layer_norm(const float *x, const void *weight, const void *bias, int32_t
   * dtype, double eps, float offset, int64_t rows, int64_t width, int64_t sets, void *out, int32_t
   * out_dtype)}.
   */
  private static final MethodHandle LAYER_NORM =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          ADDRESS,
          JAVA_INT,
          JAVA_DOUBLE,
          JAVA_FLOAT,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          ADDRESS,
          JAVA_INT);

  /**
   * {@code int32_t laco_linear_rows(const float *x, const void *weight, int32_t dtype, int64_t
   * rows, int64_t in, int64_t width, float *out)}.
   */
  private static final MethodHandle LINEAR_ROWS =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS);

  /**
   * {@code int32_t laco_add_bias(float *x, const void *bias, int32_t dtype, int64_t rows, int64_t
   * width)}.
   */
  private static final MethodHandle ADD_BIAS =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_INT, JAVA_LONG, JAVA_LONG);

  /**
   * {@code int32_t laco_rope(float *x, const float *cosine, const float *sine, int64_t rows,
   * int64_t heads, int64_t head_dim, int64_t pairs, float turns)}, and {@code laco_rope_neighbours}
   * likewise.
   */
  private static final MethodHandle ROPE =
      Downcalls.ofInt(
          ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_FLOAT);

  /**
   * {@code int32_t laco_attention(const float *query, const float *key, const float *value, int64_t
   * query_heads, int64_t key_heads, int64_t width, int64_t window, float scale, float soft_cap,
   * const float *slopes, const float *sinks, const int32_t *offsets, const int32_t *key_offsets,
   * const int32_t *past, int64_t sequences, float *scratch, float *out, float *log_sums)}; the same
   * of {@code laco_attention_tiles}.
   */
  private static final MethodHandle ATTENTION =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          ADDRESS,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_FLOAT,
          JAVA_FLOAT,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          JAVA_LONG,
          ADDRESS,
          ADDRESS,
          ADDRESS);

  /** {@code int64_t laco_attention_gradient_scratch(int64_t width)}. */
  private static final MethodHandle ATTENTION_GRADIENT_SCRATCH = Downcalls.ofLong(JAVA_LONG);

  /**
   * {@code int32_t laco_attention_gradient(const float *query, const float *key, const float
   * *value, int64_t query_heads, int64_t key_heads, int64_t width, int64_t window, float scale,
   * float soft_cap, const float *slopes, const int32_t *offsets, int64_t sequences, const float
   * *log_sums, const float *products, const float *gradient, float *scratch, float *query_gradient,
   * float *key_gradient, float *value_gradient)}; the same of {@code
   * laco_attention_gradient_tiles}.
   */
  private static final MethodHandle ATTENTION_GRADIENT =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          ADDRESS,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_FLOAT,
          JAVA_FLOAT,
          ADDRESS,
          ADDRESS,
          JAVA_LONG,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS);

  /** {@code int64_t laco_causal_convolution_scratch(int64_t width)}. */
  private static final MethodHandle CAUSAL_CONVOLUTION_SCRATCH = Downcalls.ofLong(JAVA_LONG);

  /**
   * {@code int32_t laco_causal_convolution(const float *x, const float *weight, int64_t columns,
   * int64_t width, const int32_t *offsets, const int32_t *past, const int32_t *key_offsets, int64_t
   * capacity, int64_t sequences, float *states, float *scratch, float *out)}.
   */
  private static final MethodHandle CAUSAL_CONVOLUTION =
      Downcalls.ofInt(
          ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG,
          ADDRESS, ADDRESS, ADDRESS);

  /**
   * {@code int32_t laco_causal_convolution_gradient(const float *x, const float *weight, int64_t
   * columns, int64_t width, const int32_t *offsets, int64_t sequences, const float *gradient, float
   * *scratch, float *weight_gradient, float *out)}.
   */
  private static final MethodHandle CAUSAL_CONVOLUTION_GRADIENT =
      Downcalls.ofInt(
          ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS,
          ADDRESS);

  /**
   * {@code int64_t laco_gated_delta_scratch(int64_t key, int64_t value)}; the same of {@code
   * laco_gated_delta_gradient_scratch}.
   */
  private static final MethodHandle GATED_DELTA_SCRATCH = Downcalls.ofLong(JAVA_LONG, JAVA_LONG);

  /**
   * {@code int32_t laco_gated_delta(const float *heads, const float *decay, const float *rate,
   * const float *log_decay, const float *decay_bias, int64_t key_heads, int64_t value_heads,
   * int64_t key, int64_t value, const int32_t *offsets, const int32_t *past, const int32_t
   * *key_offsets, int64_t capacity, int64_t sequences, float *states, float *scratch, float *out,
   * float *errors)}.
   */
  private static final MethodHandle GATED_DELTA =
      Downcalls.ofInt(
          ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG,
          ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS, ADDRESS);

  /**
   * {@code int32_t laco_gated_delta_gradient(const float *heads, const float *decay, const float
   * *rate, const float *log_decay, const float *decay_bias, int64_t key_heads, int64_t value_heads,
   * int64_t key, int64_t value, const int32_t *offsets, int64_t sequences, const float *errors,
   * const float *gradient, float *scratch, float *by_heads, float *by_decay, float *by_rate, float
   * *by_log_decay)}.
   */
  private static final MethodHandle GATED_DELTA_GRADIENT =
      Downcalls.ofInt(
          ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG,
          ADDRESS, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS);

  /**
   * {@code int32_t laco_clamped_gate(const float *gate_up, int64_t n, float slope, float limit,
   * float *out)}.
   */
  private static final MethodHandle CLAMPED_GATE =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_FLOAT, JAVA_FLOAT, ADDRESS);

  /**
   * {@code int32_t laco_clamped_gate_gradients(float *gate_up, int64_t n, float slope, float limit,
   * const float *gradient)}.
   */
  private static final MethodHandle CLAMPED_GATE_GRADIENTS =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_FLOAT, JAVA_FLOAT, ADDRESS);

  /**
   * {@code int32_t laco_gated_activation(int32_t activation, const float *gate, const float *up,
   * int64_t n, void *out, int32_t out_dtype)}.
   */
  private static final MethodHandle GATED_ACTIVATION =
      Downcalls.ofInt(JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, JAVA_INT);

  /**
   * {@code int32_t laco_gated_gradients(int32_t activation, float *gate, float *up, const float
   * *gradient, int64_t n)}.
   */
  private static final MethodHandle GATED_GRADIENTS =
      Downcalls.ofInt(JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG);

  /** {@code int64_t laco_norm_gradient_scratch(int64_t rows, int64_t width, int64_t sets)}. */
  private static final MethodHandle NORM_GRADIENT_SCRATCH =
      Downcalls.ofLong(JAVA_LONG, JAVA_LONG, JAVA_LONG);

  /**
   * {@code int32_t laco_norm_gradient(const float *x, const void *weight, int32_t dtype, int32_t
   * centred, double eps, float offset, int64_t rows, int64_t width, int64_t sets, const float
   * *gradient, float *scratch, float *weight_gradient, float *bias_gradient, float *out)}.
   */
  private static final MethodHandle NORM_GRADIENT =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          JAVA_INT,
          JAVA_INT,
          JAVA_DOUBLE,
          JAVA_FLOAT,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS);

  /**
   * {@code int32_t laco_route(const float *logits, const float *correction, int64_t rows, int64_t
   * experts, int64_t chosen, int32_t sigmoid, int32_t normalised, double factor, double added,
   * int32_t groups, int32_t groups_chosen, int32_t groups_best, int32_t *indices, float *shares)}.
   */
  private static final MethodHandle ROUTE =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_INT,
          JAVA_INT,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_INT,
          JAVA_INT,
          JAVA_INT,
          ADDRESS,
          ADDRESS);

  /**
   * {@code int32_t laco_add_rows(float *x, const float *y, const int32_t *rows, const float
   * *factors, int64_t count, int64_t width)}.
   */
  private static final MethodHandle ADD_ROWS =
      Downcalls.ofInt(ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG);

  /**
   * {@code int32_t laco_copy_columns(const float *x, int64_t rows, int64_t copies, int64_t x_width,
   * int64_t count, int64_t rest, void *out, int32_t dtype, int64_t out_width)}.
   */
  private static final MethodHandle COPY_COLUMNS =
      Downcalls.ofInt(
          ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS, JAVA_INT,
          JAVA_LONG);

  /**
   * {@code int32_t laco_gather_columns(const void *from, int32_t dtype, const int32_t *columns,
   * int64_t count, int64_t rows, int64_t from_width, int64_t out_width, void *out)}.
   */
  private static final MethodHandle GATHER_COLUMNS =
      Downcalls.ofInt(
          ADDRESS, JAVA_INT, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS);

  /** {@code int32_t laco_add(float *x, const float *y, int64_t n)}. */
  private static final MethodHandle ADD = Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_LONG);

  /** {@code int32_t laco_multiply(const float *x, const float *y, int64_t n, float *out)}. */
  private static final MethodHandle MULTIPLY =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_LONG, ADDRESS);

  /**
   * {@code int32_t laco_mix(void *out, int32_t dtype, int64_t n, const double *coefficients, const
   * void *const *sources, const int32_t *dtypes, int64_t count)}.
   */
  private static final MethodHandle MIX =
      Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG);

  /**
   * {@code int32_t laco_cosine(const float *a, const float *b, int64_t rows, int64_t width, const
   * int32_t *offsets, int64_t sequences, double *scratch, double *out)}.
   */
  private static final MethodHandle COSINE =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS, JAVA_LONG, ADDRESS, ADDRESS);

  /**
   * {@code int32_t laco_logits(float *x, const float *factors, int64_t rows, int64_t width, float
   * scale, float soft_cap)}.
   */
  private static final MethodHandle LOGITS =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_FLOAT, JAVA_FLOAT);

  /**
   * {@code int32_t laco_log_probability(const float *logits, int64_t rows, int64_t columns, int64_t
   * first, const int32_t *targets, float *most, double *total, float *target_logit)}.
   */
  private static final MethodHandle LOG_PROBABILITY =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS, ADDRESS);

  /**
   * {@code int32_t laco_sample(const float *logits, int64_t rows, int64_t columns, float factor,
   * const double *shares, double *parts, int32_t *tokens)}.
   */
  private static final MethodHandle SAMPLE =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_FLOAT, ADDRESS, ADDRESS, ADDRESS);

  /**
   * {@code int32_t laco_kl_divergence(const float *logits, const float *reference, int64_t rows,
   * int64_t columns, int64_t first, double *state)}.
   */
  private static final MethodHandle KL_DIVERGENCE =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS);

  /**
   * {@code int32_t laco_inverse_rms(const void *x, int32_t dtype, double floor, int64_t rows,
   * int64_t width, float *out)}.
   */
  private static final MethodHandle INVERSE_RMS =
      Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_DOUBLE, JAVA_LONG, JAVA_LONG, ADDRESS);

  /**
   * {@code int32_t laco_scaled_difference(const float *a, const float *b, const float *scale,
   * int64_t rows, int64_t width, float *out)}.
   */
  private static final MethodHandle SCALED_DIFFERENCE =
      Downcalls.ofInt(ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS);

  /**
   * {@code int32_t laco_add_columns(const float *x, int64_t rows, int64_t width, float *out)}, and
   * {@code laco_add_squares} likewise.
   */
  private static final MethodHandle ADD_COLUMNS =
      Downcalls.ofInt(ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS);

  /**
   * {@code int32_t laco_row_products(const float *a, const float *b, int64_t rows, int64_t width,
   * float *out)}.
   */
  private static final MethodHandle ROW_PRODUCTS =
      Downcalls.ofInt(ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS);

  /** {@code int32_t laco_sum_of_squares(const float *x, int64_t n, double *out)}. */
  private static final MethodHandle SUM_OF_SQUARES = Downcalls.ofInt(ADDRESS, JAVA_LONG, ADDRESS);

  /**
   * {@code int32_t laco_distillation_gradient(float *logits, const float *reference, int64_t rows,
   * int64_t columns, const double *state, const int32_t *targets, double label_share, const float
   * *factors, double scale, float soft_cap)}.
   */
  private static final MethodHandle DISTILLATION_GRADIENT =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          JAVA_LONG,
          JAVA_LONG,
          ADDRESS,
          ADDRESS,
          JAVA_DOUBLE,
          ADDRESS,
          JAVA_DOUBLE,
          JAVA_FLOAT);

  /**
   * {@code int32_t laco_adam_w(float *gradient, float *mean, float *square, float *master, void
   * *weight, int32_t dtype, int64_t n, double gradient_scale, double beta1, double beta2, double
   * kept, double step, double correction, double epsilon, uint64_t key)}.
   */
  private static final MethodHandle ADAM_W =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          JAVA_INT,
          JAVA_LONG,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_LONG);

  /**
   * {@code int32_t laco_adam_w_8bit(float *gradient, float *moments, float *master, void *weight,
   * int32_t dtype, int64_t n, double gradient_scale, double beta1, double beta2, double kept,
   * double step, double correction, double epsilon, uint64_t key)}.
   */
  private static final MethodHandle ADAM_W_8BIT =
      Downcalls.ofInt(
          ADDRESS,
          ADDRESS,
          ADDRESS,
          ADDRESS,
          JAVA_INT,
          JAVA_LONG,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_DOUBLE,
          JAVA_LONG);

  /** {@code int32_t laco_widen(const void *in, int32_t dtype, int64_t n, float *out)}. */
  private static final MethodHandle WIDEN = Downcalls.ofInt(ADDRESS, JAVA_INT, JAVA_LONG, ADDRESS);

  /** {@code int32_t laco_narrow(const float *in, int64_t n, void *out, int32_t dtype)}. */
  private static final MethodHandle NARROW = Downcalls.ofInt(ADDRESS, JAVA_LONG, ADDRESS, JAVA_INT);

  private final MemorySegment setThreads;
  private final MemorySegment threads;
  private final boolean tiles;
  private final MemorySegment attentionScratch;
  private final MemorySegment embed;
  private final MemorySegment rmsNorm;
  private final MemorySegment layerNorm;
  private final MemorySegment linearRows;
  private final MemorySegment addBias;
  private final MemorySegment rope;
  private final MemorySegment ropeNeighbours;
  private final MemorySegment attention;
  private final MemorySegment attentionTilesScratch;
  private final MemorySegment attentionTiles;
  private final MemorySegment attentionGradientScratch;
  private final MemorySegment attentionGradient;
  private final MemorySegment attentionGradientTilesScratch;
  private final MemorySegment attentionGradientTiles;
  private final MemorySegment causalConvolutionScratch;
  private final MemorySegment causalConvolution;
  private final MemorySegment causalConvolutionGradient;
  private final MemorySegment gatedDeltaScratch;
  private final MemorySegment gatedDelta;
  private final MemorySegment gatedDeltaGradientScratch;
  private final MemorySegment gatedDeltaGradient;
  private final MemorySegment clampedGate;
  private final MemorySegment clampedGateGradients;
  private final MemorySegment gatedActivation;
  private final MemorySegment gatedGradients;
  private final MemorySegment normGradientScratch;
  private final MemorySegment normGradient;
  private final MemorySegment route;
  private final MemorySegment addRows;
  private final MemorySegment copyColumns;
  private final MemorySegment gatherColumns;
  private final MemorySegment add;
  private final MemorySegment multiply;
  private final MemorySegment mix;
  private final MemorySegment cosine;
  private final MemorySegment logits;
  private final MemorySegment logProbability;
  private final MemorySegment sample;
  private final MemorySegment klDivergence;
  private final MemorySegment inverseRms;
  private final MemorySegment scaledDifference;
  private final MemorySegment addColumns;
  private final MemorySegment addSquares;
  private final MemorySegment rowProducts;
  private final MemorySegment sumOfSquares;
  private final MemorySegment distillationGradient;
  private final MemorySegment adamW;
  private final MemorySegment adamW8Bit;
  private final MemorySegment widen;
  private final MemorySegment narrow;

  /**
   * The kernels of a tier.
   *
   * @throws IllegalStateException if the library was built from other sources
   */
  CpuKernels(NativeLibrary library, CpuTier tier) {
    int abi = abi(library.function("laco_abi"));
    if (abi != ABI) {
      throw new IllegalStateException(
          library.location() + " has interface version " + abi + ", not " + ABI + ": rebuild it");
    }
    setThreads = library.function("laco_set_threads");
    threads = library.function("laco_threads");
    tiles = tier == CpuTier.AVX512 && CpuFeature.hasTiles() && usesTiles(library);
    attentionScratch = function(library, "laco_attention_scratch", tier);
    attentionTilesScratch = library.function("laco_attention_tiles_scratch");
    attentionTiles = library.function("laco_attention_tiles");
    embed = function(library, "laco_embed", tier);
    rmsNorm = function(library, "laco_rms_norm", tier);
    layerNorm = function(library, "laco_layer_norm", tier);
    linearRows = function(library, "laco_linear_rows", tier);
    addBias = function(library, "laco_add_bias", tier);
    rope = function(library, "laco_rope", tier);
    ropeNeighbours = function(library, "laco_rope_neighbours", tier);
    attention = function(library, "laco_attention", tier);
    attentionGradientScratch = function(library, "laco_attention_gradient_scratch", tier);
    attentionGradient = function(library, "laco_attention_gradient", tier);
    attentionGradientTilesScratch = library.function("laco_attention_gradient_tiles_scratch");
    attentionGradientTiles = library.function("laco_attention_gradient_tiles");
    causalConvolutionScratch = function(library, "laco_causal_convolution_scratch", tier);
    causalConvolution = function(library, "laco_causal_convolution", tier);
    causalConvolutionGradient = function(library, "laco_causal_convolution_gradient", tier);
    gatedDeltaScratch = function(library, "laco_gated_delta_scratch", tier);
    gatedDelta = function(library, "laco_gated_delta", tier);
    gatedDeltaGradientScratch = function(library, "laco_gated_delta_gradient_scratch", tier);
    gatedDeltaGradient = function(library, "laco_gated_delta_gradient", tier);
    clampedGate = function(library, "laco_clamped_gate", tier);
    clampedGateGradients = function(library, "laco_clamped_gate_gradients", tier);
    gatedActivation = function(library, "laco_gated_activation", tier);
    gatedGradients = function(library, "laco_gated_gradients", tier);
    normGradientScratch = function(library, "laco_norm_gradient_scratch", tier);
    normGradient = function(library, "laco_norm_gradient", tier);
    route = function(library, "laco_route", tier);
    addRows = function(library, "laco_add_rows", tier);
    copyColumns = function(library, "laco_copy_columns", tier);
    gatherColumns = function(library, "laco_gather_columns", tier);
    add = function(library, "laco_add", tier);
    multiply = function(library, "laco_multiply", tier);
    mix = function(library, "laco_mix", tier);
    cosine = function(library, "laco_cosine", tier);
    logits = function(library, "laco_logits", tier);
    logProbability = function(library, "laco_log_probability", tier);
    sample = function(library, "laco_sample", tier);
    klDivergence = function(library, "laco_kl_divergence", tier);
    inverseRms = function(library, "laco_inverse_rms", tier);
    scaledDifference = function(library, "laco_scaled_difference", tier);
    addColumns = function(library, "laco_add_columns", tier);
    addSquares = function(library, "laco_add_squares", tier);
    rowProducts = function(library, "laco_row_products", tier);
    sumOfSquares = function(library, "laco_sum_of_squares", tier);
    distillationGradient = function(library, "laco_distillation_gradient", tier);
    adamW = function(library, "laco_adam_w", tier);
    adamW8Bit = function(library, "laco_adam_w_8bit", tier);
    widen = function(library, "laco_widen", tier);
    narrow = function(library, "laco_narrow", tier);
  }

  /** Sets how many threads the kernels use that the calling thread calls from now on. */
  void setThreads(int threads) {
    Downcalls.call(
        () -> {
          SET_THREADS.invokeExact(setThreads, threads);
          return null;
        });
  }

  /** How many threads they would use now. */
  int threads() {
    return Downcalls.call(() -> (int) THREADS.invokeExact(threads));
  }

  /** Whether this tier and this process have products of tiles of bf16 numbers. */
  boolean hasTiles() {
    return tiles;
  }

  private static boolean usesTiles(NativeLibrary library) {
    MemorySegment function = library.function("laco_use_tiles");
    return Downcalls.call(() -> (int) USE_TILES.invokeExact(function)) == 1;
  }

  /**
   * How many floats of scratch memory {@link #attention} needs for each thread.
   *
   * @param inTiles as there
   */
  long attentionScratch(long width, boolean inTiles) {
    MemorySegment function = inTiles ? attentionTilesScratch : attentionScratch;
    return Downcalls.call(() -> (long) ATTENTION_SCRATCH.invokeExact(function, width));
  }

  void embed(
      MemorySegment table,
      DType dtype,
      MemorySegment tokens,
      long rows,
      long width,
      float scale,
      MemorySegment out) {
    run(
        "laco_embed",
        () ->
            (int)
                EMBED.invokeExact(
                    embed, table, KernelCode.of(dtype), tokens, rows, width, scale, out));
  }

  void rmsNorm(
      MemorySegment x,
      MemorySegment weight,
      DType dtype,
      NormSpec norm,
      long rows,
      long width,
      MemorySegment out,
      DType outDType) {
    run(
        "laco_rms_norm",
        () ->
            (int)
                RMS_NORM.invokeExact(
                    rmsNorm,
                    x,
                    weight,
                    KernelCode.of(dtype),
                    norm.eps(),
                    (float) norm.offset(),
                    rows,
                    width,
                    out,
                    KernelCode.of(outDType)));
  }

  void layerNorm(
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      DType dtype,
      NormSpec norm,
      long rows,
      long width,
      long sets,
      MemorySegment out,
      DType outDType) {
    run(
        "laco_layer_norm",
        () ->
            (int)
                LAYER_NORM.invokeExact(
                    layerNorm,
                    x,
                    weight,
                    bias,
                    KernelCode.of(dtype),
                    norm.eps(),
                    (float) norm.offset(),
                    rows,
                    width,
                    sets,
                    out,
                    KernelCode.of(outDType)));
  }

  void linearRows(
      MemorySegment x,
      MemorySegment weight,
      DType dtype,
      long rows,
      long in,
      long width,
      MemorySegment out) {
    run(
        "laco_linear_rows",
        () ->
            (int)
                LINEAR_ROWS.invokeExact(
                    linearRows, x, weight, KernelCode.of(dtype), rows, in, width, out));
  }

  void addBias(MemorySegment x, MemorySegment bias, DType dtype, long rows, long width) {
    run(
        "laco_add_bias",
        () -> (int) ADD_BIAS.invokeExact(addBias, x, bias, KernelCode.of(dtype), rows, width));
  }

  void rope(
      RotaryPairs layout,
      MemorySegment x,
      MemorySegment cosine,
      MemorySegment sine,
      long rows,
      long heads,
      long headDim,
      long pairs,
      float turns) {
    MemorySegment kernel = layout == RotaryPairs.HALVES ? rope : ropeNeighbours;
    run(
        "laco_rope",
        () -> (int) ROPE.invokeExact(kernel, x, cosine, sine, rows, heads, headDim, pairs, turns));
  }

  /**
   * Attention.
   *
   * @param inTiles whether products are of tiles of bf16 numbers, or in f32; false without {@link
   *     #hasTiles}
   */
  void attention(
      boolean inTiles,
      MemorySegment query,
      MemorySegment key,
      MemorySegment value,
      long queryHeads,
      long keyHeads,
      long width,
      long window,
      LogitSpec scores,
      MemorySegment slopes,
      MemorySegment sinks,
      MemorySegment offsets,
      MemorySegment keyOffsets,
      MemorySegment past,
      long sequences,
      MemorySegment scratch,
      MemorySegment out,
      MemorySegment logSums) {
    MemorySegment function = inTiles ? attentionTiles : attention;
    run(
        "laco_attention",
        () ->
            (int)
                ATTENTION.invokeExact(
                    function,
                    query,
                    key,
                    value,
                    queryHeads,
                    keyHeads,
                    width,
                    window,
                    (float) scores.scale(),
                    (float) scores.softCap(),
                    slopes,
                    sinks,
                    offsets,
                    keyOffsets,
                    past,
                    sequences,
                    scratch,
                    out,
                    logSums));
  }

  /** How many floats of scratch memory {@link #attentionGradient} needs for each thread. */
  long attentionGradientScratch(long width, boolean inTiles) {
    MemorySegment function = inTiles ? attentionGradientTilesScratch : attentionGradientScratch;
    return Downcalls.call(() -> (long) ATTENTION_GRADIENT_SCRATCH.invokeExact(function, width));
  }

  /**
   * The gradients of attention.
   *
   * @param inTiles as for {@link #attention}
   */
  void attentionGradient(
      boolean inTiles,
      MemorySegment query,
      MemorySegment key,
      MemorySegment value,
      long queryHeads,
      long keyHeads,
      long width,
      long window,
      LogitSpec scores,
      MemorySegment slopes,
      MemorySegment offsets,
      long sequences,
      MemorySegment logSums,
      MemorySegment products,
      MemorySegment gradient,
      MemorySegment scratch,
      MemorySegment queryGradient,
      MemorySegment keyGradient,
      MemorySegment valueGradient) {
    MemorySegment function = inTiles ? attentionGradientTiles : attentionGradient;
    run(
        "laco_attention_gradient",
        () ->
            (int)
                ATTENTION_GRADIENT.invokeExact(
                    function,
                    query,
                    key,
                    value,
                    queryHeads,
                    keyHeads,
                    width,
                    window,
                    (float) scores.scale(),
                    (float) scores.softCap(),
                    slopes,
                    offsets,
                    sequences,
                    logSums,
                    products,
                    gradient,
                    scratch,
                    queryGradient,
                    keyGradient,
                    valueGradient));
  }

  /**
   * How many floats of scratch memory {@link #causalConvolution} and its gradient need for each
   * thread.
   */
  long causalConvolutionScratch(long width) {
    return Downcalls.call(
        () -> (long) CAUSAL_CONVOLUTION_SCRATCH.invokeExact(causalConvolutionScratch, width));
  }

  void causalConvolution(
      MemorySegment x,
      MemorySegment weight,
      long columns,
      long width,
      MemoryBatch batch,
      MemorySegment states,
      long capacity,
      MemorySegment scratch,
      MemorySegment out) {
    long sequences = batch.sequences().sequences();
    run(
        "laco_causal_convolution",
        () ->
            (int)
                CAUSAL_CONVOLUTION.invokeExact(
                    causalConvolution,
                    x,
                    weight,
                    columns,
                    width,
                    batch.offsets(),
                    batch.past(),
                    batch.keyOffsets(),
                    capacity,
                    sequences,
                    states,
                    scratch,
                    out));
  }

  void causalConvolutionGradient(
      MemorySegment x,
      MemorySegment weight,
      long columns,
      long width,
      MemoryBatch batch,
      MemorySegment gradient,
      MemorySegment scratch,
      MemorySegment weightGradient,
      MemorySegment out) {
    long sequences = batch.sequences().sequences();
    run(
        "laco_causal_convolution_gradient",
        () ->
            (int)
                CAUSAL_CONVOLUTION_GRADIENT.invokeExact(
                    causalConvolutionGradient,
                    x,
                    weight,
                    columns,
                    width,
                    batch.offsets(),
                    sequences,
                    gradient,
                    scratch,
                    weightGradient,
                    out));
  }

  /** How many floats of scratch memory {@link #gatedDelta} needs for each thread. */
  long gatedDeltaScratch(DeltaSpec spec) {
    return gatedDeltaScratch(gatedDeltaScratch, spec.key(), spec.value());
  }

  /** How many floats of scratch memory {@link #gatedDeltaGradient} needs for each thread. */
  long gatedDeltaGradientScratch(DeltaSpec spec) {
    return gatedDeltaScratch(gatedDeltaGradientScratch, spec.key(), spec.value());
  }

  private static long gatedDeltaScratch(MemorySegment function, long key, long value) {
    return Downcalls.call(() -> (long) GATED_DELTA_SCRATCH.invokeExact(function, key, value));
  }

  void gatedDelta(
      MemorySegment heads,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment logDecay,
      MemorySegment decayBias,
      DeltaSpec spec,
      MemoryBatch batch,
      MemorySegment states,
      long capacity,
      MemorySegment scratch,
      MemorySegment out,
      MemorySegment errors) {
    long sequences = batch.sequences().sequences();
    run(
        "laco_gated_delta",
        () ->
            (int)
                GATED_DELTA.invokeExact(
                    gatedDelta,
                    heads,
                    decay,
                    rate,
                    logDecay,
                    decayBias,
                    (long) spec.keyHeads(),
                    (long) spec.valueHeads(),
                    (long) spec.key(),
                    (long) spec.value(),
                    batch.offsets(),
                    batch.past(),
                    batch.keyOffsets(),
                    capacity,
                    sequences,
                    states,
                    scratch,
                    out,
                    errors));
  }

  void gatedDeltaGradient(
      MemorySegment heads,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment logDecay,
      MemorySegment decayBias,
      DeltaSpec spec,
      MemoryBatch batch,
      MemorySegment errors,
      MemorySegment gradient,
      MemorySegment scratch,
      MemorySegment headsGradient,
      MemorySegment decayGradient,
      MemorySegment rateGradient,
      MemorySegment logDecayGradient) {
    long sequences = batch.sequences().sequences();
    run(
        "laco_gated_delta_gradient",
        () ->
            (int)
                GATED_DELTA_GRADIENT.invokeExact(
                    gatedDeltaGradient,
                    heads,
                    decay,
                    rate,
                    logDecay,
                    decayBias,
                    (long) spec.keyHeads(),
                    (long) spec.valueHeads(),
                    (long) spec.key(),
                    (long) spec.value(),
                    batch.offsets(),
                    sequences,
                    errors,
                    gradient,
                    scratch,
                    headsGradient,
                    decayGradient,
                    rateGradient,
                    logDecayGradient));
  }

  void clampedGate(MemorySegment gateUp, long n, ClampedGate gate, MemorySegment out) {
    run(
        "laco_clamped_gate",
        () ->
            (int)
                CLAMPED_GATE.invokeExact(
                    clampedGate, gateUp, n, (float) gate.slope(), (float) gate.limit(), out));
  }

  void clampedGateGradients(
      MemorySegment gateUp, long n, ClampedGate gate, MemorySegment gradient) {
    run(
        "laco_clamped_gate_gradients",
        () ->
            (int)
                CLAMPED_GATE_GRADIENTS.invokeExact(
                    clampedGateGradients,
                    gateUp,
                    n,
                    (float) gate.slope(),
                    (float) gate.limit(),
                    gradient));
  }

  void gatedActivation(
      Activation activation,
      MemorySegment gate,
      MemorySegment up,
      long n,
      MemorySegment out,
      DType outDType) {
    run(
        "laco_gated_activation",
        () ->
            (int)
                GATED_ACTIVATION.invokeExact(
                    gatedActivation,
                    KernelCode.of(activation),
                    gate,
                    up,
                    n,
                    out,
                    KernelCode.of(outDType)));
  }

  void gatedGradients(
      Activation activation, MemorySegment gate, MemorySegment up, MemorySegment gradient, long n) {
    run(
        "laco_gated_gradients",
        () ->
            (int)
                GATED_GRADIENTS.invokeExact(
                    gatedGradients, KernelCode.of(activation), gate, up, gradient, n));
  }

  /** How many floats of scratch memory {@link #normGradient} needs. */
  long normGradientScratch(long rows, long width, long sets) {
    return Downcalls.call(
        () -> (long) NORM_GRADIENT_SCRATCH.invokeExact(normGradientScratch, rows, width, sets));
  }

  void normGradient(
      MemorySegment x,
      MemorySegment weight,
      DType dtype,
      boolean centred,
      NormSpec norm,
      long rows,
      long width,
      long sets,
      MemorySegment gradient,
      MemorySegment scratch,
      MemorySegment weightGradient,
      MemorySegment biasGradient,
      MemorySegment out) {
    run(
        "laco_norm_gradient",
        () ->
            (int)
                NORM_GRADIENT.invokeExact(
                    normGradient,
                    x,
                    weight,
                    KernelCode.of(dtype),
                    centred ? 1 : 0,
                    norm.eps(),
                    (float) norm.offset(),
                    rows,
                    width,
                    sets,
                    gradient,
                    scratch,
                    weightGradient,
                    biasGradient,
                    out));
  }

  void route(
      MemorySegment logits,
      MemorySegment correction,
      long rows,
      long experts,
      long chosen,
      RouterSpec router,
      MemorySegment indices,
      MemorySegment shares) {
    RouterSpec.Groups groups = router.groupsOrAll();
    run(
        "laco_route",
        () ->
            (int)
                ROUTE.invokeExact(
                    route,
                    logits,
                    correction,
                    rows,
                    experts,
                    chosen,
                    router.scores() == RouterSpec.Scores.SIGMOID ? 1 : 0,
                    router.normalised() ? 1 : 0,
                    router.factor(),
                    router.added(),
                    groups.count(),
                    groups.chosen(),
                    groups.best(),
                    indices,
                    shares));
  }

  void addRows(
      MemorySegment x,
      MemorySegment y,
      MemorySegment rows,
      MemorySegment factors,
      long count,
      long width) {
    run(
        "laco_add_rows",
        () -> (int) ADD_ROWS.invokeExact(addRows, x, y, rows, factors, count, width));
  }

  void copyColumns(
      MemorySegment x,
      long rows,
      long copies,
      long xWidth,
      long count,
      long rest,
      MemorySegment out,
      DType dtype,
      long outWidth) {
    run(
        "laco_copy_columns",
        () ->
            (int)
                COPY_COLUMNS.invokeExact(
                    copyColumns,
                    x,
                    rows,
                    copies,
                    xWidth,
                    count,
                    rest,
                    out,
                    KernelCode.of(dtype),
                    outWidth));
  }

  void gatherColumns(
      MemorySegment from,
      DType dtype,
      MemorySegment columns,
      long count,
      long rows,
      long fromWidth,
      long outWidth,
      MemorySegment out) {
    run(
        "laco_gather_columns",
        () ->
            (int)
                GATHER_COLUMNS.invokeExact(
                    gatherColumns,
                    from,
                    KernelCode.of(dtype),
                    columns,
                    count,
                    rows,
                    fromWidth,
                    outWidth,
                    out));
  }

  void add(MemorySegment x, MemorySegment y, long n) {
    run("laco_add", () -> (int) ADD.invokeExact(add, x, y, n));
  }

  void multiply(MemorySegment x, MemorySegment y, long n, MemorySegment out) {
    run("laco_multiply", () -> (int) MULTIPLY.invokeExact(multiply, x, y, n, out));
  }

  void mix(
      MemorySegment out,
      DType dtype,
      long n,
      MemorySegment coefficients,
      MemorySegment sources,
      MemorySegment dtypes,
      long count) {
    run(
        "laco_mix",
        () ->
            (int)
                MIX.invokeExact(
                    mix, out, KernelCode.of(dtype), n, coefficients, sources, dtypes, count));
  }

  void cosine(
      MemorySegment a,
      MemorySegment b,
      long rows,
      long width,
      MemorySegment offsets,
      long sequences,
      MemorySegment scratch,
      MemorySegment out) {
    run(
        "laco_cosine",
        () ->
            (int) COSINE.invokeExact(cosine, a, b, rows, width, offsets, sequences, scratch, out));
  }

  void logits(MemorySegment x, MemorySegment factors, long rows, long width, LogitSpec spec) {
    run(
        "laco_logits",
        () ->
            (int)
                LOGITS.invokeExact(
                    logits, x, factors, rows, width, (float) spec.scale(), (float) spec.softCap()));
  }

  void logProbability(
      MemorySegment logits,
      long rows,
      long columns,
      long first,
      MemorySegment targets,
      MemorySegment most,
      MemorySegment total,
      MemorySegment targetLogit) {
    run(
        "laco_log_probability",
        () ->
            (int)
                LOG_PROBABILITY.invokeExact(
                    logProbability,
                    logits,
                    rows,
                    columns,
                    first,
                    targets,
                    most,
                    total,
                    targetLogit));
  }

  void sample(
      MemorySegment logits,
      long rows,
      long columns,
      double factor,
      MemorySegment shares,
      MemorySegment parts,
      MemorySegment tokens) {
    run(
        "laco_sample",
        () ->
            (int)
                SAMPLE.invokeExact(
                    sample, logits, rows, columns, (float) factor, shares, parts, tokens));
  }

  void klDivergence(
      MemorySegment logits,
      MemorySegment reference,
      long rows,
      long columns,
      long first,
      MemorySegment state) {
    run(
        "laco_kl_divergence",
        () ->
            (int)
                KL_DIVERGENCE.invokeExact(
                    klDivergence, logits, reference, rows, columns, first, state));
  }

  void inverseRms(
      MemorySegment x, DType dtype, double floor, long rows, long width, MemorySegment out) {
    run(
        "laco_inverse_rms",
        () ->
            (int)
                INVERSE_RMS.invokeExact(
                    inverseRms, x, KernelCode.of(dtype), floor, rows, width, out));
  }

  void scaledDifference(
      MemorySegment a,
      MemorySegment b,
      MemorySegment scale,
      long rows,
      long width,
      MemorySegment out) {
    run(
        "laco_scaled_difference",
        () -> (int) SCALED_DIFFERENCE.invokeExact(scaledDifference, a, b, scale, rows, width, out));
  }

  void addColumns(MemorySegment x, long rows, long width, MemorySegment out) {
    run("laco_add_columns", () -> (int) ADD_COLUMNS.invokeExact(addColumns, x, rows, width, out));
  }

  void addSquares(MemorySegment x, long rows, long width, MemorySegment out) {
    run("laco_add_squares", () -> (int) ADD_COLUMNS.invokeExact(addSquares, x, rows, width, out));
  }

  void rowProducts(MemorySegment a, MemorySegment b, long rows, long width, MemorySegment out) {
    run(
        "laco_row_products",
        () -> (int) ROW_PRODUCTS.invokeExact(rowProducts, a, b, rows, width, out));
  }

  void sumOfSquares(MemorySegment x, long n, MemorySegment out) {
    run("laco_sum_of_squares", () -> (int) SUM_OF_SQUARES.invokeExact(sumOfSquares, x, n, out));
  }

  void distillationGradient(
      MemorySegment logits,
      MemorySegment reference,
      long rows,
      long columns,
      MemorySegment state,
      MemorySegment targets,
      double labelShare,
      MemorySegment factors,
      double scale,
      double softCap) {
    run(
        "laco_distillation_gradient",
        () ->
            (int)
                DISTILLATION_GRADIENT.invokeExact(
                    distillationGradient,
                    logits,
                    reference,
                    rows,
                    columns,
                    state,
                    targets,
                    labelShare,
                    factors,
                    scale,
                    (float) softCap));
  }

  void adamW(
      TrainingOps.AdamW step,
      double epsilon,
      MemorySegment gradient,
      MemorySegment mean,
      MemorySegment square,
      MemorySegment master,
      MemorySegment weight,
      DType dtype,
      long n) {
    run(
        "laco_adam_w",
        () ->
            (int)
                ADAM_W.invokeExact(
                    adamW,
                    gradient,
                    mean,
                    square,
                    master,
                    weight,
                    KernelCode.of(dtype),
                    n,
                    step.gradientScale(),
                    step.beta1(),
                    step.beta2(),
                    1 - step.rate() * step.decay(),
                    step.stepSize(),
                    step.squareCorrection(),
                    epsilon,
                    step.key()));
  }

  void adamW8Bit(
      TrainingOps.AdamW step,
      MemorySegment gradient,
      MemorySegment moments,
      MemorySegment master,
      MemorySegment weight,
      DType dtype,
      long n) {
    run(
        "laco_adam_w_8bit",
        () ->
            (int)
                ADAM_W_8BIT.invokeExact(
                    adamW8Bit,
                    gradient,
                    moments,
                    master,
                    weight,
                    KernelCode.of(dtype),
                    n,
                    step.gradientScale(),
                    step.beta1(),
                    step.beta2(),
                    1 - step.rate() * step.decay(),
                    step.stepSize(),
                    step.squareCorrection(),
                    step.epsilon(),
                    step.key()));
  }

  void widen(MemorySegment in, DType dtype, long n, MemorySegment out) {
    run("laco_widen", () -> (int) WIDEN.invokeExact(widen, in, KernelCode.of(dtype), n, out));
  }

  void narrow(MemorySegment in, long n, MemorySegment out, DType dtype) {
    run("laco_narrow", () -> (int) NARROW.invokeExact(narrow, in, n, out, KernelCode.of(dtype)));
  }

  private static int abi(MemorySegment function) {
    return Downcalls.call(() -> (int) ABI_QUERY.invokeExact(function));
  }

  private static MemorySegment function(NativeLibrary library, String name, CpuTier tier) {
    return library.function(name + "_" + tier.number());
  }

  /** Calls a kernel, and throws unless the kernel returns 0. */
  private static void run(String function, Downcalls.Call<Integer> kernel) {
    int status = Downcalls.call(kernel);
    if (status != 0) {
      throw new IllegalStateException(function + ": " + STATUS[status] + " (" + status + ")");
    }
  }
}
