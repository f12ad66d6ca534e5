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
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * The kernels that are called from here: in which file of {@code cuda/} each lies, for which dtypes
 * it is there, and its parameters. {@code KernelTest} compares this table with what was built.
 */
@SuppressWarnings("ImmutableEnumChecker") // the collections are unmodifiable
enum Kernel {
  EMBED("embed", "embed_%s_v1", all(), POINTER, POINTER, POINTER, INT64),
  RMS_NORM("norm", "rms_norm_%s_v1", all(), POINTER, POINTER, POINTER, INT64, FLOAT32),
  ADD_RMS_NORM(
      "norm", "add_rms_norm_%s_v1", all(), POINTER, POINTER, POINTER, POINTER, INT64, FLOAT32),
  ROPE("rope", "rope_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, INT32, INT32, INT32),
  NORM_ROPE(
      "rope",
      "norm_rope_%s_v1",
      all(),
      POINTER,
      POINTER,
      POINTER,
      POINTER,
      INT32,
      INT32,
      INT32,
      FLOAT32),
  GATED_ACTIVATION(
      "gated_activation",
      "gated_activation_%s_v1",
      Set.of(F32),
      POINTER,
      POINTER,
      POINTER,
      INT64,
      INT32),
  GATED_SLOPES(
      "gated_activation", "gated_slopes_%s_v1", Set.of(F32), POINTER, POINTER, INT64, INT32),
  ADD("add", "add_%s_v1", Set.of(F32), POINTER, POINTER, INT64),
  ADD_BIAS("add", "add_bias_%s_v1", all(), POINTER, POINTER, INT64, INT64),
  MULTIPLY("multiply", "multiply_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, INT64),
  WIDEN("convert", "widen_%s_v1", halves(), POINTER, POINTER, INT64),
  NARROW("convert", "narrow_%s_v1", halves(), POINTER, POINTER, INT64),
  /** Sources of several dtypes. */
  MIX_ANY("mix", "mix_any_v1", Set.of(F32), POINTER, INT32),
  /** All sources of one dtype, destinations of the same or f32. */
  MIX("mix", "mix_%s_v2", all(), POINTER, INT32),
  /** The same bits by f32 arithmetic where that can be proven, for cards whose f64 is slow. */
  MIX_IN_F32("mix", "mix_%s_v3", all(), POINTER, INT32),
  COSINE("cosine", "cosine_%s_v1", Set.of(F32), POINTER, POINTER, POINTER, POINTER, INT64, INT32),
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
  INVERSE_RMS("norm", "inverse_rms_%s_v1", Set.of(F32), POINTER, POINTER, INT64, FLOAT32),
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
  ADD_SQUARES("add_squares", "add_squares_%s_v1", Set.of(F32), POINTER, POINTER, INT64, INT64),
  /** Of f64, as the next three. */
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
  /** Exact f32, heads of any width up to 512. */
  ATTENTION("attention", "attention_%s_v1", Set.of(F32), attention()),
  /** Tensor cores, for heads up to 64 wide; the width is a multiple of 16, as in the next two. */
  ATTENTION_64("attention", "attention_%s_v2", halves(), attention()),
  ATTENTION_128("attention", "attention_%s_v3", halves(), attention()),
  ATTENTION_256("attention", "attention_%s_v4", halves(), attention()),
  /** For one candidate. */
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

  /** A kernel's parameter as it is laid out among its arguments. */
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

    /** Size and alignment. */
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

  /** Name of the source and of the fatbin, without its suffix. */
  String file() {
    return file;
  }

  /** Where it is there. */
  Set<DType> dtypes() {
    return dtypes;
  }

  List<Parameter> parameters() {
    return parameters;
  }

  /** The entry's name in the fatbin. */
  String entry(DType dtype) {
    return "laco_" + String.format(Locale.ROOT, name, dtype.shortName());
  }

  /** The files of all kernels. */
  static List<String> files() {
    return Arrays.stream(values()).map(Kernel::file).distinct().toList();
  }

  private static Set<DType> all() {
    return Set.of(DType.values());
  }

  private static Set<DType> halves() {
    return Set.of(F16, BF16);
  }

  private static Parameter[] attention() {
    return new Parameter[] {
      POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, POINTER, INT32, INT32, INT32,
      INT32, FLOAT32, FLOAT32
    };
  }
}
