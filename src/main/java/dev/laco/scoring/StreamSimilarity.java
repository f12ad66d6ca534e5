package dev.laco.scoring;

import dev.laco.backend.ScoringOps;
import dev.laco.backend.Tensor;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.RunningModel;
import java.util.List;

/**
 * How alike the hidden states between the layers of the original are. States are numbered as in
 * {@link ResidualStream}; a matrix has a row and a column for each of them, and is symmetric.
 */
public final class StreamSimilarity implements ResidualStream.Reader {
  private final ScoringOps backend;
  private final int states;
  private final double[][] cosines;
  private final double[][] flattened;
  private final double[][] angles;
  private final double[] norms;
  private int tokens;
  private int sequences;

  /** No tokens yet. */
  public StreamSimilarity(RunningModel running) {
    backend = running.backend();
    states = running.config().numHiddenLayers() + 1;
    cosines = new double[states][states];
    flattened = new double[states][states];
    angles = new double[states][states];
    norms = new double[states];
  }

  /** Runs the original once over sequences. */
  public static StreamSimilarity measure(RunningModel running, PackedSequences sequences) {
    StreamSimilarity similarity = new StreamSimilarity(running);
    ResidualStream.read(running, sequences, List.of(similarity), tokens -> {});
    return similarity;
  }

  @Override
  public void states(PackedSequences chunk, List<Tensor> chunkStates) {
    double[] products = backend.pairProducts(chunkStates, chunk.size());
    int square = states * states;
    for (int s = 0; s < chunk.sequences(); s++) {
      double[] sum = new double[square];
      for (int t = chunk.offsets()[s]; t < chunk.offsets()[s + 1]; t++) {
        for (int at = 0; at < square; at++) {
          sum[at] += products[t * square + at];
        }
        add(cosines, products, t * square);
        for (int i = 0; i < states; i++) {
          norms[i] += Math.sqrt(products[t * square + i * states + i]);
        }
      }
      add(flattened, sum, 0);
      addAngles(products, (chunk.offsets()[s + 1] - 1) * square);
    }
    tokens += chunk.size();
    sequences += chunk.sequences();
  }

  private void add(double[][] to, double[] products, int from) {
    for (int i = 0; i < states; i++) {
      for (int j = 0; j < states; j++) {
        to[i][j] += cosine(products, from, i, j);
      }
    }
  }

  private void addAngles(double[] products, int from) {
    for (int i = 0; i < states; i++) {
      for (int j = 0; j < states; j++) {
        double cosine = Math.clamp(cosine(products, from, i, j), -1.0, 1.0);
        angles[i][j] += Math.acos(cosine) / Math.PI;
      }
    }
  }

  private double cosine(double[] products, int from, int i, int j) {
    double squares = products[from + i * states + i] * products[from + j * states + j];
    return products[from + i * states + j] / Math.sqrt(squares);
  }

  /** Number of tokens that were read. */
  public int tokens() {
    return tokens;
  }

  /** Cosine of two states at the same token, mean over tokens. */
  public double[][] cosines() {
    return divided(cosines, tokens);
  }

  /** Cosine of two states, all tokens of a sequence as one vector, mean over sequences. */
  public double[][] flattenedCosines() {
    return divided(flattened, sequences);
  }

  /**
   * Angular distance of two states (Gromov et al., arXiv 2403.17887): arccos of their cosine at the
   * last token of a sequence, in half turns, mean over sequences.
   */
  public double[][] angularDistances() {
    return divided(angles, sequences);
  }

  /**
   * Angular distance between the input of a layer and the output of the last of {@code layers} from
   * there on; one for each first layer.
   */
  public double[] angularDistances(int layers) {
    double[] distances = new double[states - layers];
    for (int first = 0; first < distances.length; first++) {
      distances[first] = angles[first][first + layers] / sequences;
    }
    return distances;
  }

  /** Length of a state at a token, mean over tokens. */
  public double[] norms() {
    double[] means = norms.clone();
    for (int i = 0; i < states; i++) {
      means[i] /= tokens;
    }
    return means;
  }

  /**
   * Block Influence (ShortGPT, arXiv 2403.03853): one minus the cosine of input and output of a
   * layer, mean over all tokens; one for each layer.
   */
  public double[] blockInfluence() {
    double[] influence = new double[states - 1];
    for (int layer = 0; layer < influence.length; layer++) {
      influence[layer] = 1 - cosines[layer][layer + 1] / tokens;
    }
    return influence;
  }

  private static double[][] divided(double[][] sums, int count) {
    double[][] means = new double[sums.length][sums.length];
    for (int i = 0; i < sums.length; i++) {
      for (int j = 0; j < sums.length; j++) {
        means[i][j] = sums[i][j] / count;
      }
    }
    return means;
  }
}
