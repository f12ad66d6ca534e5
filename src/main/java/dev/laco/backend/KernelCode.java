package dev.laco.backend;

import dev.laco.model.Activation;
import dev.laco.model.DType;

/** The numbers of dtypes and activations in arguments of C++ and CUDA kernels. */
public final class KernelCode {
  private KernelCode() {}

  /** The number of a dtype. */
  public static int of(DType dtype) {
    return switch (dtype) {
      case F32 -> 0;
      case F16 -> 1;
      case BF16 -> 2;
    };
  }

  /** The number of an activation. */
  public static int of(Activation activation) {
    return switch (activation) {
      case SILU -> 0;
      case GELU -> 1;
      case GELU_TANH -> 2;
      case RELU -> 3;
      case RELU_SQUARED -> 4;
      case SIGMOID -> 5;
      case LINEAR -> 6;
    };
  }
}
