package dev.laco.analysis;

import dev.laco.JobProgress;
import dev.laco.analysis.SimilarityResult.Parameters;
import dev.laco.backend.ScoringOps;
import dev.laco.backend.Tensor;
import dev.laco.model.LayerPart;
import dev.laco.model.LayerRole;
import dev.laco.model.ModelConfig;
import dev.laco.model.TensorGroup;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;

/**
 * How alike the matrices of layers are. Each matrix is read once: all layers' matrices of one role
 * are multiplied with each other, then those of the next role. An expert is compared with the
 * expert of the same number.
 */
final class ParameterSimilarity {
  private final ScoringOps backend;
  private final TensorSource weights;
  private final CheckpointLayers layers;
  private final int depth;

  ParameterSimilarity(RunningModel model) {
    backend = model.backend();
    weights = model.weights();
    layers = new CheckpointLayers(model);
    depth = model.config().numHiddenLayers();
  }

  /** The rows of a stored tensor that have one role in one layer. */
  private record Matrix(int layer, TensorSpec spec, TensorSpec.Part part) {}

  /** Elements of all matrices that {@link #measure} reads. */
  static long elements(ModelConfig config) {
    long elements = 0;
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      elements +=
          config.architecture().layerTensors(config, layer).stream()
              .filter(spec -> spec.group() != TensorGroup.NORMS)
              .mapToLong(TensorSpec::elements)
              .sum();
    }
    return elements;
  }

  SequencedMap<String, Parameters> measure(JobProgress.Stage progress) {
    Map<LayerPart, List<Matrix>> parts = parts();
    List<List<Matrix>> inOrder = List.copyOf(parts.values());
    SequencedMap<String, Products> byRole = new LinkedHashMap<>();
    int done = 0;
    for (Map.Entry<LayerPart, List<Matrix>> part : parts.entrySet()) {
      Products products =
          byRole.computeIfAbsent(label(part.getKey().role()), role -> new Products(depth));
      weights.prefetch(names(part.getValue()));
      Map<List<Long>, List<Matrix>> byShape = new LinkedHashMap<>();
      Map<Matrix, Tensor> tensors = new LinkedHashMap<>();
      for (Matrix matrix : part.getValue()) {
        Tensor tensor = tensor(matrix);
        tensors.put(matrix, tensor);
        byShape
            .computeIfAbsent(List.of(tensor.rows(), tensor.columns()), shape -> new ArrayList<>())
            .add(matrix);
      }
      if (done + 1 < inOrder.size()) {
        weights.prefetch(names(inOrder.get(done + 1)));
      }
      for (List<Matrix> alike : byShape.values()) {
        products.add(
            alike.stream().mapToInt(Matrix::layer).toArray(),
            backend.pairProducts(alike.stream().map(tensors::get).toList(), 1));
      }
      weights.release();
      done++;
      progress.update(done, inOrder.size());
    }
    SequencedMap<String, Parameters> found = new LinkedHashMap<>();
    found.put(SimilarityResult.ALL, Products.sum(depth, byRole.values()).parameters());
    byRole.forEach((role, products) -> found.put(role, products.parameters()));
    return found;
  }

  private Map<LayerPart, List<Matrix>> parts() {
    Map<LayerPart, List<Matrix>> parts = new TreeMap<>();
    for (int layer = 0; layer < depth; layer++) {
      for (TensorSpec spec : layers.specs(layer)) {
        if (spec.group() != TensorGroup.NORMS) {
          for (TensorSpec.Part part : spec.parts()) {
            parts
                .computeIfAbsent(part.layerPart(), layerPart -> new ArrayList<>())
                .add(new Matrix(layer, spec, part));
          }
        }
      }
    }
    return parts;
  }

  private List<String> names(List<Matrix> matrices) {
    return matrices.stream().map(matrix -> layers.name(matrix.layer, matrix.spec)).toList();
  }

  private Tensor tensor(Matrix matrix) {
    Tensor stored = layers.tensor(matrix.layer, matrix.spec);
    return matrix.spec.parts().size() == 1
        ? stored
        : stored.slice(matrix.part.from(), matrix.part.to());
  }

  /** {@code sharedGate} of {@code SHARED_GATE}. */
  private static String label(LayerRole role) {
    StringBuilder label = new StringBuilder();
    for (String word : role.name().toLowerCase(Locale.ROOT).split("_", -1)) {
      label.append(
          label.isEmpty()
              ? word
              : word.substring(0, 1).toUpperCase(Locale.ROOT) + word.substring(1));
    }
    return label.toString();
  }

  /** Sums of dot products of layers; NaN where two layers have nothing to compare. */
  private static final class Products {
    private final double[][] sums;

    Products(int depth) {
      sums = new double[depth][depth];
      Arrays.stream(sums).forEach(row -> Arrays.fill(row, Double.NaN));
    }

    static Products sum(int depth, Collection<Products> all) {
      Products sum = new Products(depth);
      int[] everyLayer = new int[depth];
      Arrays.setAll(everyLayer, layer -> layer);
      for (Products products : all) {
        double[] flat = new double[depth * depth];
        Arrays.setAll(flat, at -> products.sums[at / depth][at % depth]);
        sum.add(everyLayer, flat);
      }
      return sum;
    }

    void add(int[] layers, double[] products) {
      for (int i = 0; i < layers.length; i++) {
        for (int j = 0; j < layers.length; j++) {
          double product = products[i * layers.length + j];
          double before = sums[layers[i]][layers[j]];
          if (!Double.isNaN(product)) {
            sums[layers[i]][layers[j]] = (Double.isNaN(before) ? 0 : before) + product;
          }
        }
      }
    }

    Parameters parameters() {
      int depth = sums.length;
      double[][] cosine = new double[depth][depth];
      double[][] distance = new double[depth][depth];
      for (int i = 0; i < depth; i++) {
        for (int j = 0; j < depth; j++) {
          double both = sums[i][i] + sums[j][j];
          cosine[i][j] = sums[i][j] / Math.sqrt(sums[i][i] * sums[j][j]);
          // Rounding may make a difference of equal matrices negative.
          distance[i][j] = Math.sqrt(Math.max(0, both - 2 * sums[i][j]) / (both / 2));
        }
      }
      return new Parameters(LayerMatrix.of(cosine), LayerMatrix.of(distance));
    }
  }
}
