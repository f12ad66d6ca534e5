package dev.laco.analysis;

import java.util.Arrays;
import java.util.List;

/**
 * A number for each pair of layers, or of the states between them.
 *
 * @param rows all of the same length as their number; NaN where two layers cannot be compared
 */
public record LayerMatrix(List<List<Double>> rows) {
  /** A matrix with a copy of its rows. */
  public LayerMatrix {
    rows = rows.stream().map(List::copyOf).toList();
  }

  /** A matrix of the values of an array. */
  static LayerMatrix of(double[][] values) {
    return new LayerMatrix(Arrays.stream(values).map(LayerMatrix::list).toList());
  }

  static List<Double> list(double[] values) {
    return Arrays.stream(values).boxed().toList();
  }

  /** The number of rows. */
  public int size() {
    return rows.size();
  }

  /** The value of two layers. */
  public double get(int row, int column) {
    return rows.get(row).get(column);
  }
}
