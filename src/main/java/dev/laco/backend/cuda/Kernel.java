package dev.laco.backend.cuda;

import static dev.laco.backend.cuda.Kernel.Parameter.FLOAT32;
import static dev.laco.backend.cuda.Kernel.Parameter.FLOAT64;
import static dev.laco.backend.cuda.Kernel.Parameter.INT32;
import static dev.laco.backend.cuda.Kernel.Parameter.INT64;
import static dev.laco.backend.cuda.Kernel.Parameter.POINTER;
import static dev.laco.model.DType.BF16;
import static dev.laco.model.DType.F16;
import static dev.laco.model.DType.F32;

import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The CUDA kernels that the backend launches: the file of {@code cuda/} in which a kernel lies, the
 * dtypes for which it is compiled, and its parameters. {@code KernelTest} compares this table with
 * the compiled kernels.
 */
@SuppressWarnings("ImmutableEnumChecker") // the collections are unmodifiable
enum Kernel {
  EMBED("embed", "embed_%s_v1", all(), POINTER, POINTER, POINTER, INT64, FLOAT32, INT32),
  RMS_NORM(
      "norm", "rms_norm_%s_v1", all(), POINTER, POINTER, POINTER, INT64, FLOAT32, FLOAT32, INT32),
  ADD_RMS_NORM(
      "norm",
      "add_rms_norm_%s_v1",
      all(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      FLOAT32,
      FLOAT32,
      INT32),
  /** Takes several rows of weights, which rows of activations have in turn. */
  LAYER_NORM(
      "norm",
      "layer_norm_%s_v1",
      all(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT32,
      FLOAT32,
      FLOAT32,
      INT32),
  ADD_LAYER_NORM(
      "norm",
      "add_layer_norm_%s_v1",
      all(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      FLOAT32,
      FLOAT32,
      INT32),
  RMS_NORM_GRADIENT(
      "norm_gradient",
      "rms_norm_gradient_%s_v1",
      all(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT64,
      INT64,
      FLOAT32,
      FLOAT32),
  LAYER_NORM_GRADIENT(
      "norm_gradient",
      "layer_norm_gradient_%s_v1",
      all(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT64,
      INT64,
      FLOAT32,
      FLOAT32),
  ROPE("rope", "rope_%s_v1", Set.of(F32), rope(4, 1)),
  ROPE_NEIGHBOURS("rope", "rope_neighbours_%s_v1", Set.of(F32), rope(4, 1)),
  NORM_ROPE("rope", "norm_rope_%s_v1", all(), rope(5, 2)),
  GATED_ACTIVATION(
      "gated_activation",
      "gated_activation_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT32,
      INT32),
  GATED_GRADIENTS(
      "gated_activation",
      "gated_gradients_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT32),
  CLAMPED_GATE(
      "gated_activation",
      "clamped_gate_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      INT64,
      FLOAT32,
      FLOAT32),
  CLAMPED_GATE_GRADIENTS(
      "gated_activation",
      "clamped_gate_gradients_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      INT64,
      FLOAT32,
      FLOAT32),
  ROUTE(
      "route",
      "route_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT32,
      INT32,
      INT32,
      INT32,
      FLOAT32,
      FLOAT32,
      INT32,
      INT32,
      INT32),
  ADD_ROWS("add_rows", "add_rows_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, POINTER, INT64),
  COPY_COLUMNS(
      "copy_columns",
      "copy_columns_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      INT64,
      INT64,
      INT64,
      INT64,
      INT64,
      INT64,
      INT32),
  GATHER_COLUMNS(
      "gather_columns",
      "gather_columns_%s_v1",
      all(),
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT64,
      INT64),
  ADD("add", "add_%s_v1", Set.of(F32), POINTER, POINTER, INT64),
  ADD_BIAS("add", "add_bias_%s_v1", all(), POINTER, POINTER, POINTER, INT64, INT64, INT32),
  MULTIPLY("multiply", "multiply_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, INT64),
  WIDEN("convert", "widen_%s_v1", halves(), POINTER, POINTER, INT64),
  /** Takes up to four tensors: where each lies, where each goes, and how many elements each has. */
  NARROW(
      "convert",
      "narrow_%s_v2",
      halves(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT64,
      INT64,
      INT64),
  NON_FINITE("non_finite", "non_finite_%s_v1", all(), POINTER, INT64, POINTER),
  /** Mixes sources of several dtypes. */
  MIX_ANY("mix", "mix_any_v1", Set.of(F32), POINTER, INT32),
  /** Mixes sources of one dtype into destinations of that dtype or f32. */
  MIX("mix", "mix_%s_v2", all(), POINTER, INT32),
  /**
   * Gives the same bits as {@link #MIX}, for cards whose f64 is slow: calculates in f32 where f32
   * provably gives the same bits.
   */
  MIX_IN_F32("mix", "mix_%s_v3", all(), POINTER, INT32),
  COSINE("cosine", "cosine_%s_v2", Set.of(F32), POINTER, POINTER, POINTER, POINTER, INT64, INT32),
  COSINE_PAIRS(
      "cosine", "cosine_pairs_%s_v2", Set.of(F32), POINTER, POINTER, POINTER, INT64, INT32),
  LOGITS("logits", "logits_%s_v2", Set.of(F32), POINTER, POINTER, INT64, INT64, FLOAT32, FLOAT32),
  LOG_PROBABILITY(
      "log_probability",
      "log_probability_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT64),
  KL_DIVERGENCE(
      "kl_divergence", "kl_divergence_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, INT64, INT64),
  /** Turns logits into gradients, after {@link #KL_DIVERGENCE}. */
  DISTILLATION(
      "distillation",
      "distillation_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      FLOAT32,
      FLOAT32,
      FLOAT32),
  ROW_PRODUCTS("row_products", "row_products_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, INT64),
  INVERSE_RMS("norm", "inverse_rms_%s_v1", all(), POINTER, POINTER, INT64, FLOAT32),
  SCALED_DIFFERENCE(
      "scaled_difference",
      "scaled_difference_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT64),
  COLUMN_SUMS(
      "column_sums",
      "column_sums_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      INT64,
      INT64,
      INT64,
      INT32),
  ADD_SQUARES("column_sums", "add_squares_%s_v1", Set.of(F32), POINTER, POINTER, INT64, INT64),
  DAMPINGS(
      "dampings",
      "dampings_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      FLOAT64,
      FLOAT64,
      FLOAT64,
      FLOAT64,
      FLOAT64),
  SAMPLE("sample", "sample_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, POINTER, INT64, FLOAT32),
  SQUARES("squares", "squares_%s_v1", Set.of(F32), POINTER, INT32, POINTER),
  ADAM_W("adam_w", "adam_w_%s_v3", all(), POINTER, INT32),
  /** Holds running means in 8 bits. */
  ADAM_W_8BIT("adam_w_8bit", "adam_w_8bit_%s_v2", all(), POINTER, INT32),
  /** Works on f64, as the next three kernels do. */
  WIDEN_DIFFERENCE(
      "linear_system", "widen_difference_f64_v1", Set.of(F32), POINTER, POINTER, POINTER, INT64),
  ADD_TO_DIAGONAL(
      "linear_system",
      "add_to_diagonal_f64_v1",
      Set.of(F32),
      POINTER,
      INT64,
      FLOAT64,
      FLOAT64,
      FLOAT64),
  CHECK_PIVOTS("linear_system", "check_pivots_f64_v1", Set.of(F32), POINTER, INT64, POINTER),
  ROUND("linear_system", "round_f64_v1", Set.of(F32), POINTER, POINTER, FLOAT64, INT64),
  /** Copies rows of any type. */
  APPEND_KEY_VALUES(
      "append_key_values",
      "append_key_values_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64),
  /** Calculates in f32, for heads that are up to 512 wide. */
  ATTENTION("attention", "attention_%s_v1", Set.of(F32), attention(6)),
  /**
   * Uses tensor cores, for heads up to 64 wide. The width must be a multiple of 16, for the next
   * two kernels as well.
   */
  ATTENTION_64("attention", "attention_%s_v2", halves(), attention(6)),
  ATTENTION_128("attention", "attention_%s_v3", halves(), attention(6)),
  ATTENTION_256("attention", "attention_%s_v4", halves(), attention(6)),
  /**
   * Gives the gradients by keys and values; calculates in f32, for heads that are up to 512 wide.
   */
  ATTENTION_GRADIENT_KEYS(
      "attention_gradient", "attention_gradient_keys_%s_v1", Set.of(F32), attention(8)),
  /**
   * Uses tensor cores, for heads up to 64 wide. The width must be a multiple of 16, for the next
   * kernel as well.
   */
  ATTENTION_GRADIENT_KEYS_64(
      "attention_gradient", "attention_gradient_keys_%s_v2", Set.of(BF16), attention(8)),
  ATTENTION_GRADIENT_KEYS_128(
      "attention_gradient", "attention_gradient_keys_%s_v3", Set.of(BF16), attention(8)),
  /** Gives the gradients by queries; likewise in f32. */
  ATTENTION_GRADIENT_QUERIES(
      "attention_gradient", "attention_gradient_queries_%s_v1", Set.of(F32), attention(7)),
  ATTENTION_GRADIENT_QUERIES_64(
      "attention_gradient", "attention_gradient_queries_%s_v2", Set.of(BF16), attention(7)),
  ATTENTION_GRADIENT_QUERIES_128(
      "attention_gradient", "attention_gradient_queries_%s_v3", Set.of(BF16), attention(7)),
  CAUSAL_CONVOLUTION(
      "causal_convolution",
      "causal_convolution_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT32,
      INT32,
      INT32),
  CAUSAL_CONVOLUTION_GRADIENT(
      "causal_convolution",
      "causal_convolution_gradient_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT32,
      INT32,
      INT32),
  /** For keys up to 256 wide, as the next three kernels. */
  GATED_DELTA("gated_delta", "gated_delta_%s_v1", Set.of(F32), delta(11)),
  /** Gives the gradients by values and rates, and sums for the kernels after it. */
  GATED_DELTA_GRADIENT_VALUES(
      "gated_delta_gradient", "gated_delta_gradient_values_%s_v1", Set.of(F32), delta(12)),
  /** Gives further sums. */
  GATED_DELTA_GRADIENT_KEYS(
      "gated_delta_gradient", "gated_delta_gradient_keys_%s_v1", Set.of(F32), delta(12)),
  /** Gives the gradients by queries and keys. */
  GATED_DELTA_GRADIENT_HEADS(
      "gated_delta_gradient",
      "gated_delta_gradient_heads_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT32,
      INT32,
      INT32,
      INT32,
      INT32,
      INT32),
  GATED_DELTA_GRADIENT_DECAYS(
      "gated_delta_gradient",
      "gated_delta_gradient_decays_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT32,
      INT32,
      INT32),
  /** Multiplies by a matrix that the kernel mixes while it multiplies. */
  COLLAPSE_PRODUCT(
      "collapse_product",
      "collapse_product_%s_v2",
      halves(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT64,
      INT64,
      INT32,
      INT32);

  /** The type of a parameter, which gives its place among the packed arguments. */
  enum Parameter {
    POINTER(8),
    INT64(8),
    INT32(4),
    FLOAT32(4),
    FLOAT64(8);

    private final int byteSize;

    Parameter(int byteSize) {
      this.byteSize = byteSize;
    }

    /** Size and alignment in bytes. */
    int byteSize() {
      return byteSize;
    }
  }

  private final String file;
  private final String name;
  private final Set<DType> dtypes;
  private final List<Parameter> parameters;

  Kernel(String file, String name, Set<DType> dtypes, Parameter... parameters) {
    this.file = file;
    this.name = name;
    this.dtypes = dtypes;
    this.parameters = List.of(parameters);
  }

  /** Name of the source file and of the fatbin, without suffix. */
  String file() {
    return file;
  }

  /** The dtypes for which the kernel is compiled. */
  Set<DType> dtypes() {
    return dtypes;
  }

  List<Parameter> parameters() {
    return parameters;
  }

  /** Name of the kernel for a dtype in the fatbin. */
  String entry(DType dtype) {
    return "laco_" + String.format(Locale.ROOT, name, dtype.shortName());
  }

  /** The file names of all kernels, without suffix. */
  static List<String> files() {
    return Arrays.stream(values()).map(Kernel::file).distinct().toList();
  }

  private static Set<DType> all() {
    return Set.of(DType.values());
  }

  private static Set<DType> halves() {
    return Set.of(F16, BF16);
  }

  /**
   * The parameters of a kernel of the rotary embedding.
   *
   * @param tensors pointers to tensors
   * @param numbers the direction, or the numbers of a norm
   */
  private static Parameter[] rope(int tensors, int numbers) {
    List<Parameter> parameters = new ArrayList<>(Collections.nCopies(tensors, POINTER));
    parameters.addAll(List.of(INT32, INT32, INT32));
    parameters.addAll(Collections.nCopies(numbers, FLOAT32));
    parameters.add(INT32);
    return parameters.toArray(Parameter[]::new);
  }

  /**
   * The parameters of a kernel of attention.
   *
   * @param tensors pointers to tensors, before those to the tables of a batch and to slopes
   */
  private static Parameter[] attention(int tensors) {
    return Stream.concat(
            Stream.generate(() -> POINTER).limit(tensors + 4L),
            Stream.of(INT32, INT32, INT32, INT32, FLOAT32, FLOAT32))
        .toArray(Parameter[]::new);
  }

  /**
   * The parameters of a kernel that goes through states of the gated delta rule.
   *
   * @param tensors pointers to tensors and to the tables of a batch, before a number and the
   *     extents
   */
  private static Parameter[] delta(int tensors) {
    return Stream.concat(
            Stream.generate(() -> POINTER).limit(tensors), Stream.generate(() -> INT32).limit(5))
        .toArray(Parameter[]::new);
  }
}
