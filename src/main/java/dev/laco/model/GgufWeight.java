package dev.laco.model;

import java.util.ArrayList;
import java.util.List;

/**
 * A tensor of a GGUF file, and the rows of weights that it holds.
 *
 * @param name of the tensor in the file
 * @param shape of the tensor, outermost extent first
 * @param rows the weights' rows that make the tensor, from its first row to its last
 * @param values what the file has in the place of the weights' values
 */
public record GgufWeight(String name, List<Long> shape, List<Rows> rows, Values values) {
  /** What a file has in the place of the values of a weight. */
  public enum Values {
    /** The values themselves. */
    SAME,
    /** Each value plus 1. */
    PLUS_ONE,
    /** Each row divided by its length. */
    UNIT_ROWS,
    /** {@code -exp(x)} for each value x. */
    MINUS_EXP;

    /** Those of a norm, which adds a number, 0 or 1, to its weights. */
    static Values ofNorm(double offset) {
      return offset == 0 ? SAME : PLUS_ONE;
    }

    /** Whether the file has another value in the place of each, which depends on it alone. */
    public boolean areOfEach() {
      return this == PLUS_ONE || this == MINUS_EXP;
    }

    /** What the file has in the place of a value, but for the length of its row. */
    public double of(double value) {
      return switch (this) {
        case SAME, UNIT_ROWS -> value;
        case PLUS_ONE -> value + 1;
        case MINUS_EXP -> -Math.exp(value);
      };
    }

    /**
     * The value in whose place a file has this one, but for the length of its row; not a finite
     * number where there is none.
     */
    public double inverse(double stored) {
      return switch (this) {
        case SAME, UNIT_ROWS -> stored;
        case PLUS_ONE -> stored - 1;
        case MINUS_EXP -> Math.log(-stored);
      };
    }
  }

  /**
   * The order of things in a file: groups of {@code length} units, of {@code unit} things each,
   * stand in the weight as matrices of {@code parts} rows, and in the file as their transposes.
   *
   * @param parts a divisor of {@code length}
   */
  public record Order(int parts, int length, int unit) {
    /** The order of the weight. */
    public static final Order SAME = new Order(1, 1, 1);

    /** Whether it is the order of the weight. */
    public boolean isSame() {
      return parts == 1 || parts == length;
    }

    /** The place in the weight of what has place {@code p} in the file. */
    public long of(long p) {
      if (isSame()) {
        return p;
      }
      long at = p / unit;
      long inGroup = at % length;
      long turned = inGroup % parts * (length / parts) + inGroup / parts;
      return (at - inGroup + turned) * unit + p % unit;
    }
  }

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
   * @param rowOrder the order of rows in a block
   * @param columnOrder the order of elements in a row
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
      Order rowOrder,
      Order columnOrder) {
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
        String weight, List<Long> shape, long first, long blocks, long size, long stride) {
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
          Order.SAME,
          Order.SAME);
    }

    /** Rows of a weight from {@code first} on. */
    static Rows of(String weight, List<Long> shape, long first, long size) {
      return of(weight, shape, first, 1, size, size);
    }

    /** These rows, those of a block in another order in the file. */
    Rows inOrder(Order ofRows) {
      return in(weight, ofRows, columnOrder);
    }

    /** These rows, the elements of each in another order in the file. */
    Rows withColumnsIn(Order ofColumns) {
      return in(weight, rowOrder, ofColumns);
    }

    private Rows in(String name, Order ofRows, Order ofColumns) {
      return new Rows(
          name,
          shape,
          columns,
          first,
          blocks,
          size,
          blockStride,
          rowStride,
          step,
          ofRows,
          ofColumns);
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
      return step == 1 && columnOrder.isSame();
    }

    /** So many rows follow each other in the file and in the weight. */
    public long run() {
      if (!isStraight() || rowStride != columns) {
        return 1;
      }
      return rowOrder.isSame() ? size : rowOrder.unit();
    }

    /** The weight's element with which row {@code row} of these begins. */
    public long begin(long row) {
      return first + row / size * blockStride + rowOrder.of(row % size) * rowStride;
    }

    /** The distance in the weight of element {@code column} of a row from the row's begin. */
    public long inRow(int column) {
      return step * columnOrder.of(column);
    }

    /** These rows of another weight of the same shape. */
    public Rows of(String other) {
      return in(other, rowOrder, columnOrder);
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

  /**
   * Whether the values are F32 in every file: those of vectors, biases, norms, routers and
   * convolutions.
   */
  public boolean isAlwaysF32() {
    return shape.size() < 2
        || name.endsWith(".bias")
        || name.endsWith("_norm.weight")
        || name.contains(".ffn_gate_inp")
        || name.endsWith(GgufNames.CONVOLUTION)
        || name.endsWith(GgufNames.SHORT_CONVOLUTION);
  }
}
