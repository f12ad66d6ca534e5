package dev.laco.checkpoint;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/** Tensors made by hand, in memory that the collector frees. */
public final class TestTensors {
  private TestTensors() {}

  /** A tensor of zeros. */
  public static HostTensor zeros(String name, DType dtype, Long... shape) {
    return HostTensor.allocate(Arena.ofAuto(), name, dtype, List.of(shape));
  }

  /** A tensor's shape and type with its bytes, every third element negated, under another name. */
  public static HostTensor changed(HostTensor tensor, String name) {
    HostTensor copy = HostTensor.allocate(Arena.ofAuto(), name, tensor.dtype(), tensor.shape());
    MemorySegment data = copy.data().copyFrom(tensor.data());
    int size = tensor.dtype().byteSize();
    for (long last = size - 1; last < data.byteSize(); last += 3L * size) {
      byte sign = (byte) (data.get(ValueLayout.JAVA_BYTE, last) ^ 0x80);
      data.set(ValueLayout.JAVA_BYTE, last, sign);
    }
    return copy;
  }
}
