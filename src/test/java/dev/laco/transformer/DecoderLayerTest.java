package dev.laco.transformer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.PackedSequences;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class DecoderLayerTest {
  @ParameterizedTest
  @CsvSource({
    "llama_mha_bias_f16,AUTO,F16",
    "llama_tied_rope3,AUTO,BF16",
    "qwen2_bias,AUTO,F32",
    "llama_tied_rope3,F32,F32"
  })
  void attentionMultipliesInTheTypeOfTheProjections(
      String fixture, Compute compute, DType expected) {
    Set<DType> types = EnumSet.noneOf(DType.class);
    try (Backend reference = new ReferenceBackend(compute);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture))) {
      Backend backend = multipliesInTheTypeOfWeights(reference, compute, types);
      CausalLm model = new RunningModel(backend, checkpoint.config(), checkpoint).original();
      PackedSequences tokens = PackedSequences.of(List.of(new int[] {1, 2, 3}));
      try (TensorArena arena = backend.arena();
          Workspace work = new Workspace(backend, checkpoint.config(), tokens.size());
          TokenBatch batch = model.batch(tokens)) {
        Tensor hidden = arena.allocate(DType.F32, tokens.size(), checkpoint.config().hiddenSize());
        model.embed(batch, hidden);
        model.finish(0, hidden, batch, work, hidden);
      }
    }
    assertEquals(EnumSet.of(expected), types);
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama_mha_bias_f16", "qwen2_bias"})
  void theStepsOneAfterTheOtherDoWhatTheWholeLayerDoes(String fixture) {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        TensorArena arena = backend.arena()) {
      RunningModel running = new RunningModel(backend, checkpoint.config(), checkpoint);
      CausalLm model = running.original();
      LayerWeights weights = new CheckpointLayers(running).layer(1, 3);
      DecoderLayer layer = new DecoderLayer(backend, checkpoint.config());
      LayerAttention attention = checkpoint.config().attention().get(1);
      int width = checkpoint.config().hiddenSize();
      Tensor whole = arena.allocate(DType.F32, 3, width);
      Tensor steps = arena.allocate(DType.F32, 3, width);
      try (Workspace work = new Workspace(backend, checkpoint.config(), 5);
          TokenBatch batch = model.batch(PackedSequences.of(List.of(new int[] {1, 2, 3})))) {
        Workspace.Buffers buffers = work.forTokens(3);
        model.embed(batch, whole);
        model.embed(batch, steps);
        layer.run(weights, attention, whole, batch, buffers);
        DecoderLayer.Attended attended = layer.attend(weights, attention, steps, batch, buffers);
        backend.add(steps, layer.project(weights, attended, buffers).states());
        DecoderLayer.Channels channels = layer.channels(weights, steps, buffers);
        backend.add(steps, layer.contribute(weights, channels, buffers).states());
      }
      float[] expected = new float[3 * width];
      float[] found = new float[3 * width];
      backend.download(whole, expected);
      backend.download(steps, found);
      assertArrayEquals(expected, found);
    }
  }

  /** A backend that says of its products what a GPU's says, and notes the types of attention. */
  private static Backend multipliesInTheTypeOfWeights(
      Backend backend, Compute compute, Set<DType> types) {
    return (Backend)
        Proxy.newProxyInstance(
            DecoderLayerTest.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (_, method, arguments) -> {
              if (method.getName().equals("productType")) {
                return compute == Compute.AUTO ? arguments[0] : DType.F32;
              }
              if (method.getName().equals("attention")) {
                types.add(((AttentionSpec) arguments[4]).products());
              }
              try {
                return method.invoke(backend, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
  }
}
