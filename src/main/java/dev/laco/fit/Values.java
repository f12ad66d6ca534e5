package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.DeviceMemory;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.util.Arrays;

/** Elements of tensors on the host, widened to f32 and rounded back. */
final class Values {
  private Values() {}

  /** Sums the elements of an f32 tensor on a device, in f64. */
  static double sum(DeviceMemory backend, Tensor values) {
    return sums(backend, values, 1)[0];
  }

  /** The same of each of several parts of a tensor that are equally long. */
  static double[] sums(DeviceMemory backend, Tensor values, int parts) {
    float[] floats = new float[Math.toIntExact(values.elements())];
    backend.download(values, floats);
    double[] sums = new double[parts];
    for (int i = 0; i < floats.length; i++) {
      sums[i / (floats.length / parts)] += floats[i];
    }
    return sums;
  }

  /** Sums the squares of the elements of an f32 tensor on a device. */
  static double sumOfSquares(Backend backend, Tensor values) {
    try (TensorArena scratch = backend.arena()) {
      Tensor columns = scratch.allocate(DType.F32, 1, values.columns());
      backend.addSquares(values, columns);
      return sum(backend, columns);
    }
  }

  /** The root mean square of the elements of an f32 tensor on a device, each plus an offset. */
  static double rootMeanSquare(DeviceMemory backend, Tensor values, double offset) {
    float[] floats = new float[Math.toIntExact(values.elements())];
    backend.download(values, floats);
    double sum = 0;
    for (float value : floats) {
      sum += (offset + value) * (offset + value);
    }
    return Math.sqrt(sum / floats.length);
  }

  /** The median over hidden states {@code h}, a row each, of {@code 1 / sqrt(mean(h^2))}. */
  static float medianInverseRms(Backend backend, Tensor rows) {
    float[] values = new float[Math.toIntExact(rows.rows())];
    try (TensorArena scratch = backend.arena()) {
      Tensor column = scratch.allocate(DType.F32, values.length, 1);
      backend.inverseRms(rows, Streams.FLOOR, column);
      backend.download(column, values);
    }
    Arrays.sort(values);
    return values[values.length / 2];
  }

  /** All elements of a vector. */
  static float[] all(HostTensor vector) {
    MemoryTensor source = MemoryTensor.of(vector);
    float[] values = new float[Math.toIntExact(vector.elements())];
    for (int i = 0; i < values.length; i++) {
      values[i] = source.get(i);
    }
    return values;
  }

  /** Writes the elements of a vector, each rounded once. */
  static void store(float[] values, HostTensor to) {
    MemoryTensor target = MemoryTensor.of(to);
    for (int i = 0; i < values.length; i++) {
      target.set(i, values[i]);
    }
  }
}
