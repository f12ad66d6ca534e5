package dev.laco.checkpoint.gguf;

import java.util.List;

/**
 * A row of the tensor table of a GGUF file.
 *
 * @param name name in the file
 * @param type element type
 * @param shape extents, outermost first; the file has them in the other order
 * @param offset first byte, counted from the start of the file
 * @param byteSize bytes
 */
public record GgufTensor(String name, GgufType type, List<Long> shape, long offset, long byteSize) {
  public GgufTensor {
    shape = List.copyOf(shape);
  }
}
