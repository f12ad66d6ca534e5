package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.DecoderLayer;
import dev.laco.transformer.LayerWeights;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What attention and feed-forward part add, against the steps of a layer run one by one. */
final class UpdateSizesTest {
  /** In the second family both parts read the same states, in the third norms follow them. */
  @ParameterizedTest
  @ValueSource(strings = {"llama_untied_gqa", "gpt_neox", "olmo2"})
  void thePartsOfAnUpdateAreThoseOfTheStepsOfALayer(String fixture) {
    PackedSequences tokens = PackedSequences.of(Fixtures.tokens(fixture, "eval"));
    try (Checkpoint model = Checkpoint.open(Fixtures.model(fixture));
        Backend backend = CpuBackend.open(Compute.F32, 1);
        TensorArena arena = backend.arena()) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      UpdateSizes sizes = new UpdateSizes(running);
      ResidualStream.read(running, tokens, List.of(sizes), done -> {});
      CheckpointLayers layers = new CheckpointLayers(running);
      DecoderLayer decoder = new DecoderLayer(backend, model.config());
      Tensor x = arena.allocate(DType.F32, tokens.size(), model.config().hiddenSize());
      try (Workspace work = new Workspace(backend, model.config(), tokens.size());
          TokenBatch batch = running.original().batch(tokens)) {
        running.original().embed(batch, x);
        double[] stream = lengths(backend, x);
        LayerWeights weights = layers.layer(0, tokens.size());
        Workspace.Buffers buffers = work.forTokens(tokens.size());
        DecoderLayer.Attended attended =
            decoder.attend(weights, layers.attention(0), x, batch, buffers);
        Tensor added = decoder.project(weights, attended, buffers).states();
        double[] attention = lengths(backend, added);
        if (!model.config().parallel()) {
          backend.add(x, added);
        }
        double[] feedForward =
            lengths(
                backend,
                decoder
                    .contribute(weights, decoder.channels(weights, x, buffers), buffers)
                    .states());
        double expectedAttention = 0;
        double expectedFeedForward = 0;
        double share = 0;
        for (int t = 0; t < stream.length; t++) {
          expectedAttention += attention[t] / stream[t] / stream.length;
          expectedFeedForward += feedForward[t] / stream[t] / stream.length;
          share += attention[t] / (attention[t] + feedForward[t]) / stream.length;
        }
        assertEquals(expectedAttention, sizes.attention()[0], 1e-5 * expectedAttention);
        assertEquals(expectedFeedForward, sizes.feedForward()[0], 1e-5 * expectedFeedForward);
        assertEquals(share, sizes.attentionShare()[0], 1e-5);
      }
    }
  }

  private static double[] lengths(Backend backend, Tensor states) {
    float[] values = new float[(int) states.elements()];
    backend.download(states, values);
    double[] lengths = new double[(int) states.rows()];
    for (int i = 0; i < values.length; i++) {
      lengths[i / (int) states.columns()] += (double) values[i] * values[i];
    }
    for (int t = 0; t < lengths.length; t++) {
      lengths[t] = Math.sqrt(lengths[t]);
    }
    return lengths;
  }
}
