package dev.laco.model;

import java.util.ArrayList;
import java.util.List;

/**
 * A tensor of a GGUF file, and the rows of weights that it holds.
 *
 * @param name of the tensor in the file
 * @param shape of the tensor, outermost extent first
 * @param rows the weights' rows that make the tensor, from its first row to its last
 * @param added what the file adds to each value
 * @param unitRows whether the file has each row divided by its length
 */
public record GgufWeight(
    String name, List<Long> shape, List<Rows> rows, double added, boolean unitRows) {
  public GgufWeight {
    shape = List.copyOf(shape);
    rows = List.copyOf(rows);
  }

  /**
   * Rows of the tensor, and where in a weight their elements lie. There are {@code blocks} blocks
   * of {@code size} rows each; all distances are in elements of the weight. Most rows of a tensor
   * are rows of a weight, whose elements follow each other. A row may also be a column of the
   * weight, or every second element of a row.
   *
   * @param weight name of the weight
   * @param shape of the weight
   * @param columns elements of a row; 1 for each element of a vector
   * @param first where the first row begins
   * @param blockStride from the begin of a block to that of the next
   * @param rowStride from the begin of a row to that of the next in its block
   * @param step from an element of a row to the next
   * @param headWidth rows of a head whose order is another in the file (see {@link
   *     GgufFamily#rowsInterleaved}); 0 where the order is the same
   */
  public record Rows(
      String weight,
      List<Long> shape,
      long columns,
      long first,
      long blocks,
      long size,
      long blockStride,
      long rowStride,
      long step,
      int headWidth) {
    public Rows {
      shape = List.copyOf(shape);
    }

    /**
     * Blocks of rows of a weight.
     *
     * @param first the weight's row with which the first block begins
     * @param stride the weight's rows from the begin of a block to that of the next
     */
    static Rows of(
        String weight,
        List<Long> shape,
        long first,
        long blocks,
        long size,
        long stride,
        int headWidth) {
      long columns = columnsOf(shape);
      return new Rows(
          weight,
          shape,
          columns,
          first * columns,
          blocks,
          size,
          stride * columns,
          columns,
          1,
          headWidth);
    }

    /** How many rows these are. */
    public long count() {
      return blocks * size;
    }

    /** How many elements these are. */
    public long elements() {
      return count() * columns;
    }

    /** Whether the elements of a row follow each other in the weight. */
    public boolean isStraight() {
      return step == 1;
    }

    /** So many rows follow each other in the file and in the weight. */
    public long run() {
      return headWidth == 0 && isStraight() && rowStride == columns ? size : 1;
    }

    /** The weight's element with which row {@code row} of these begins. */
    public long begin(long row) {
      long inBlock = row % size;
      if (headWidth > 0) {
        long inHead = inBlock % headWidth;
        inBlock += inHead % 2 * (headWidth / 2) + inHead / 2 - inHead;
      }
      return first + row / size * blockStride + inBlock * rowStride;
    }

    /** These rows of another weight of the same shape. */
    public Rows of(String other) {
      return new Rows(
          other, shape, columns, first, blocks, size, blockStride, rowStride, step, headWidth);
    }

    /** Whether the weight has no other elements, and has these in the order of the file. */
    public boolean isWhole() {
      return blocks == 1 && run() == size && elements() == elementsOf(shape);
    }
  }

  /** Elements of a row. */
  public long columns() {
    return columnsOf(shape);
  }

  private static long columnsOf(List<Long> shape) {
    return shape.size() < 2 ? 1 : shape.getLast();
  }

  /** Elements of a tensor of this shape. */
  public static long elementsOf(List<Long> shape) {
    return shape.stream().reduce(1L, Math::multiplyExact);
  }

  /** The rows, those of one weight that follow each other in one list. */
  public List<List<Rows>> byWeight() {
    List<List<Rows>> groups = new ArrayList<>();
    for (Rows next : rows) {
      if (groups.isEmpty() || !groups.getLast().getFirst().weight().equals(next.weight())) {
        groups.add(new ArrayList<>());
      }
      groups.getLast().add(next);
    }
    return groups;
  }

  /** Whether the values are F32 in every file: those of vectors, biases, norms and routers. */
  public boolean isAlwaysF32() {
    return shape.size() < 2
        || name.endsWith(".bias")
        || name.endsWith("_norm.weight")
        || name.contains(".ffn_gate_inp");
  }
}
