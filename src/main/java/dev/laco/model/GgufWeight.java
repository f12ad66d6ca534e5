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
   * Rows of a weight, in the order of the file: blocks of {@code size} rows that follow each other,
   * which in the weight begin {@code stride} rows apart. A row of a vector is one element.
   *
   * @param weight name of the weight
   * @param shape of the weight
   * @param first the weight's row with which the first block begins
   * @param headWidth rows of a head whose order is another in the file (see {@link
   *     GgufFamily#rowsInterleaved}); 0 where the order is the same
   */
  public record Rows(
      String weight,
      List<Long> shape,
      long first,
      long blocks,
      long size,
      long stride,
      int headWidth) {
    public Rows {
      shape = List.copyOf(shape);
    }

    /** How many rows these are. */
    public long count() {
      return blocks * size;
    }

    /** So many rows follow each other in the file and in the weight. */
    public long run() {
      return headWidth > 0 ? 1 : size;
    }

    /** The weight's row that is row {@code row} of these in the file. */
    public long of(long row) {
      long inBlock = row % size;
      if (headWidth > 0) {
        long inHead = inBlock % headWidth;
        inBlock += inHead % 2 * (headWidth / 2) + inHead / 2 - inHead;
      }
      return first + row / size * stride + inBlock;
    }

    /** These rows of another weight of the same shape. */
    public Rows of(String other) {
      return new Rows(other, shape, first, blocks, size, stride, headWidth);
    }

    /** Whether the weight has no other rows, and has these in the order of the file. */
    public boolean isWhole() {
      return blocks == 1 && headWidth == 0 && size == rowsOf(shape);
    }
  }

  /** Elements of a row. */
  public long columns() {
    return shape.size() < 2 ? 1 : shape.getLast();
  }

  /** Rows of a tensor of this shape; elements of a vector. */
  public static long rowsOf(List<Long> shape) {
    return (shape.size() < 2 ? shape : shape.subList(0, shape.size() - 1))
        .stream().reduce(1L, Math::multiplyExact);
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

  /** Whether the values are F32 in every file: those of vectors, norms and routers. */
  public boolean isAlwaysF32() {
    return shape.size() < 2 || name.endsWith("_norm.weight") || name.contains(".ffn_gate_inp");
  }
}
