package dev.laco.linalg;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.stream.IntStream;

public final class Cholesky {
  private Cholesky() {}

  public static void solve(MemorySegment a, MemorySegment b, long nn, long r) {
    int n = (int) nn;
    double[][] l = new double[n][];
    for (int i = 0; i < n; i++) {
      l[i] = new double[n];
      for (int j = 0; j < n; j++) l[i][j] = a.getAtIndex(ValueLayout.JAVA_DOUBLE, (long) i * n + j);
    }
    int nb = 64;
    for (int k0 = 0; k0 < n; k0 += nb) {
      int k1 = Math.min(n, k0 + nb);
      for (int j = k0; j < k1; j++) {
        double[] lj = l[j];
        double s = lj[j];
        for (int p = k0; p < j; p++) s -= lj[p] * lj[p];
        lj[j] = Math.sqrt(s);
        final int jj = j;
        final int kk0 = k0;
        for (int i = j + 1; i < k1; i++) {
          double t = l[i][jj];
          for (int p = kk0; p < jj; p++) t -= l[i][p] * lj[p];
          l[i][jj] = t / lj[jj];
        }
      }
      final int K0 = k0, K1 = k1;
      IntStream.range(k1, n)
          .parallel()
          .forEach(
              i -> {
                double[] li = l[i];
                for (int j = K0; j < K1; j++) {
                  double t = li[j];
                  double[] lj = l[j];
                  for (int p = K0; p < j; p++) t -= li[p] * lj[p];
                  li[j] = t / lj[j];
                }
              });
      IntStream.range(k1, n)
          .parallel()
          .forEach(
              i -> {
                double[] li = l[i];
                for (int j = K1; j <= i; j++) {
                  double[] lj = l[j];
                  double t = 0;
                  for (int p = K0; p < K1; p++) t += li[p] * lj[p];
                  li[j] -= t;
                }
              });
    }
    IntStream.range(0, (int) r)
        .parallel()
        .forEach(
            c -> {
              double[] x = new double[n];
              for (int i = 0; i < n; i++)
                x[i] = b.getAtIndex(ValueLayout.JAVA_DOUBLE, (long) c * n + i);
              for (int i = 0; i < n; i++) {
                double t = x[i];
                double[] li = l[i];
                for (int p = 0; p < i; p++) t -= li[p] * x[p];
                x[i] = t / li[i];
              }
              for (int i = n - 1; i >= 0; i--) {
                x[i] /= l[i][i];
                double xi = x[i];
                double[] li = l[i];
                for (int p = 0; p < i; p++) x[p] -= li[p] * xi;
              }
              for (int i = 0; i < n; i++)
                b.setAtIndex(ValueLayout.JAVA_DOUBLE, (long) c * n + i, x[i]);
            });
  }
}
