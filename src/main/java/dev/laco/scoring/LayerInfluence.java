package dev.laco.scoring;

import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * How much each layer of the original changes the residual stream on the calibration tokens. Hidden
 * states {@code j} are the input of layer {@code j}; the last ones are the output of the last
 * layer, before the final norm.
 */
public final class LayerInfluence {
  private final double[] blockInfluence;

  /** {@code [layers + 1][sequences][d]}: the hidden states at the last token of each sequence. */
  private final List<float[][]> lastTokens;

  private LayerInfluence(double[] blockInfluence, List<float[][]> lastTokens) {
    this.blockInfluence = blockInfluence;
    this.lastTokens = lastTokens;
  }

  /** Runs the original once over the calibration tokens. */
  public static LayerInfluence measure(RunningModel running, PackedSequences calibration) {
    DeviceMemory backend = running.backend();
    ModelConfig config = running.config();
    int depth = config.numHiddenLayers();
    int width = config.hiddenSize();
    double[] influence = new double[depth];
    List<float[][]> lastTokens = new ArrayList<>();
    CausalLm model = running.original();
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, config, calibration.size());
        TokenBatch batch = model.batch(calibration)) {
      Tensor states = arena.allocate(DType.F32, calibration.size(), width);
      float[] before = new float[calibration.size() * width];
      float[] after = new float[before.length];
      model.embed(batch, states);
      backend.download(states, before);
      lastTokens.add(lastTokens(before, calibration, width));
      for (int layer = 0; layer < depth; layer++) {
        model.layer(layer, states, batch, work, null);
        backend.download(states, after);
        lastTokens.add(lastTokens(after, calibration, width));
        influence[layer] = 1 - meanCosine(before, after, width);
        float[] swap = before;
        before = after;
        after = swap;
      }
    }
    return new LayerInfluence(influence, lastTokens);
  }

  private static float[][] lastTokens(float[] states, PackedSequences sequences, int width) {
    float[][] rows = new float[sequences.sequences()][];
    for (int s = 0; s < rows.length; s++) {
      int row = sequences.offsets()[s + 1] - 1;
      rows[s] = Arrays.copyOfRange(states, row * width, (row + 1) * width);
    }
    return rows;
  }

  private static double meanCosine(float[] a, float[] b, int width) {
    double sum = 0;
    int rows = a.length / width;
    for (int row = 0; row < rows; row++) {
      sum += cosine(a, b, row * width, width);
    }
    return sum / rows;
  }

  private static double cosine(float[] a, float[] b, int from, int width) {
    double product = 0;
    double ofA = 0;
    double ofB = 0;
    for (int i = from; i < from + width; i++) {
      product += (double) a[i] * b[i];
      ofA += (double) a[i] * a[i];
      ofB += (double) b[i] * b[i];
    }
    return product / Math.sqrt(ofA * ofB);
  }

  /**
   * Block Influence (ShortGPT, arXiv 2403.03853): one minus the cosine of input and output of a
   * layer, mean over all tokens; one for each layer.
   */
  public double[] blockInfluence() {
    return blockInfluence.clone();
  }

  /**
   * Angular distance (Gromov et al., arXiv 2403.17887) between the input of a layer and the output
   * of the last of {@code layers} from there on: arccos of their cosine at the last token of a
   * sequence, in half turns, mean over sequences; one for each first layer.
   */
  public double[] angularDistances(int layers) {
    double[] distances = new double[blockInfluence.length - layers + 1];
    for (int first = 0; first < distances.length; first++) {
      float[][] before = lastTokens.get(first);
      float[][] after = lastTokens.get(first + layers);
      double sum = 0;
      for (int s = 0; s < before.length; s++) {
        double cosine = cosine(before[s], after[s], 0, before[s].length);
        sum += Math.acos(Math.clamp(cosine, -1.0, 1.0)) / Math.PI;
      }
      distances[first] = sum / before.length;
    }
    return distances;
  }
}
