package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.fail;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSpec;
import dev.laco.text.FitText;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;

/** New values for some rows of a fused matrix, in a layer that is the mean of two. */
class NewLayerTest {
  private static final String FUSED = "model.layers.1.self_attn.qkv_proj.weight";

  @Test
  void rowsWithoutNewValuesAreThoseOfThePlan() {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint model = Checkpoint.open(Fixtures.model("phi3_std"));
        MemoryArena memory = new MemoryArena();
        TensorArena scratch = backend.arena()) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(1, 1, MergeRule.MEAN, NormsPolicy.MERGE);
      TensorSpec spec = model.config().architecture().layerTensor(model.config(), 1, LayerRole.KEY);
      TensorSpec.Part keys = spec.part(LayerRole.KEY);
      assertEquals(64, keys.from());
      assertEquals(96, keys.to());
      float[] row = new float[64];
      row[3] = 0.5f;
      Tensor values = scratch.allocate(DType.F32, 32, 64);
      for (int r = 0; r < 32; r++) {
        backend.upload(row, values.slice(r, r + 1));
      }
      NewWeights made;
      try (PlannedLayers layers = running.pruned(plan, NewWeights.NONE);
          FitBlocks blocks =
              new FitBlocks(
                  running.original(),
                  Fixtures.tokens("phi3_std", "calib").stream()
                      .map(ids -> new FitText.Chunk(ids, 0, "a text"))
                      .toList(),
                  List.of());
          Streams streams = new Streams(backend, model.config(), 4, 4);
          Ridge ridge = new Ridge(backend, 4, 4);
          Matrices matrices = new Matrices(backend, 64, 0)) {
        Original original =
            new Original(running.original(), new CheckpointLayers(running), blocks, streams);
        Workbench bench =
            new Workbench(backend, model.config(), blocks, streams, original, ridge, matrices);
        try (FittedTensors fitted = new FittedTensors(backend);
            NewLayer layer = new NewLayer(bench, layers, 1, memory)) {
          layer.use(LayerRole.KEY, DType.F32, values);
          layer.addTo(fitted);
          made = fitted.all(damaged -> fail("layer " + damaged));
        }
      }
      HostTensor fused = Objects.requireNonNull(made.find(FUSED));
      assertEquals(1, made.tensors().size());
      assertEquals(spec.shape(), fused.shape());
      float[] found = Values.all(fused);
      HostTensor first = model.tensor(FUSED);
      HostTensor second = model.tensor("model.layers.2.self_attn.qkv_proj.weight");
      int changed = 0;
      for (int r = 0; r < 128; r++) {
        float[] base = MemoryTensor.of(first).row(r);
        float[] follower = MemoryTensor.of(second).row(r);
        for (int c = 0; c < 64; c++) {
          boolean isKey = r >= keys.from() && r < keys.to();
          float mean = (float) (0.5 * base[c] + 0.5 * follower[c]);
          float expected = isKey ? row[c] : mean;
          assertEquals(expected, found[r * 64 + c], "row " + r);
          changed += expected == mean ? 0 : 1;
        }
      }
      assertFalse(changed == 0);
    }
  }
}
