package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Linear centred kernel alignment (CKA, Kornblith et al. 2019) of the hidden states between layers.
 * HSIC is the unbiased estimate of Song et al. (2012), summed over chunks of tokens as in Nguyen et
 * al. (arXiv 2010.15327): the usual estimate is close to 1 for any two states that have more
 * elements than there are tokens.
 *
 * <pre>  K = X X^T, L = Y Y^T of n tokens, with zeros on their diagonals
 *  HSIC(K, L) = (tr(K L) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2 (1'K L1) / (n-2)) / (n (n-3))
 *  CKA = sum HSIC(K, L) / sqrt(sum HSIC(K, K) sum HSIC(L, L))</pre>
 */
public final class KernelAlignment implements ResidualStream.Reader {
  /** The estimate divides by {@code n - 3}. */
  private static final int LEAST_TOKENS = 4;

  private final Backend backend;
  private final int states;
  private final double[][] sums;

  /** No tokens yet. */
  public KernelAlignment(RunningModel running) {
    backend = running.backend();
    states = running.config().numHiddenLayers() + 1;
    sums = new double[states][states];
  }

  /** Bytes of buffers beside those of {@link ResidualStream#bytes}. */
  public static long bytes(ModelConfig config, PackedSequences sequences) {
    long tokens = ResidualStream.mostTokens(sequences);
    return (config.numHiddenLayers() + 1L) * tokens * tokens * Float.BYTES;
  }

  @Override
  public void states(PackedSequences chunk, List<Tensor> chunkStates) {
    int n = chunk.size();
    if (n < LEAST_TOKENS) {
      return;
    }
    try (TensorArena arena = backend.arena()) {
      List<Tensor> kernels = new ArrayList<>();
      double[][] rows = new double[states][];
      float[] values = new float[n * n];
      for (int i = 0; i < states; i++) {
        Tensor kernel = arena.allocate(DType.F32, n, n);
        backend.linear(chunkStates.get(i), chunkStates.get(i), null, kernel);
        backend.download(kernel, values);
        rows[i] = withoutDiagonal(values, n);
        backend.upload(values, kernel);
        kernels.add(kernel);
      }
      double[] traces = backend.pairProducts(kernels, 1);
      for (int i = 0; i < states; i++) {
        for (int j = 0; j < states; j++) {
          sums[i][j] += hsic(traces[i * states + j], rows[i], rows[j]);
        }
      }
    }
  }

  /** Puts zeros on the diagonal, and gives the sums of the rows. */
  private static double[] withoutDiagonal(float[] kernel, int n) {
    double[] rows = new double[n];
    for (int t = 0; t < n; t++) {
      kernel[t * n + t] = 0;
      for (int i = t * n; i < (t + 1) * n; i++) {
        rows[t] += kernel[i];
      }
    }
    return rows;
  }

  private static double hsic(double trace, double[] rows, double[] otherRows) {
    double n = rows.length;
    double mixed = 0;
    for (int t = 0; t < rows.length; t++) {
      mixed += rows[t] * otherRows[t];
    }
    double all = Arrays.stream(rows).sum() * Arrays.stream(otherRows).sum();
    return (trace + all / ((n - 1) * (n - 2)) - 2 * mixed / (n - 2)) / (n * (n - 3));
  }

  /** CKA of all pairs of states; NaN where no chunk has four tokens. */
  public double[][] values() {
    double[][] values = new double[states][states];
    for (int i = 0; i < states; i++) {
      for (int j = 0; j < states; j++) {
        values[i][j] = sums[i][j] / Math.sqrt(sums[i][i] * sums[j][j]);
      }
    }
    return values;
  }
}
