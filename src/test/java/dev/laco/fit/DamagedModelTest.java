package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.HostTensor;
import dev.laco.model.LayerRole;
import dev.laco.model.NonFinite;
import dev.laco.model.TensorSource;
import dev.laco.report.FitReport;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A fit of a model some of whose tensors are zero, constant, double or huge ends with a model. */
public class DamagedModelTest {
  private static final String FIXTURE = "llama_tied_rope3";

  /** The layers before the gap, in it, and behind it. */
  private static final int BEFORE = 1;

  private static final int GONE = 2;
  private static final int BEHIND = 4;

  private static final String ANY = "model\\.layers\\..*";

  private static final Consumer<MemoryTensor> ZERO = tensor -> tensor.data().fill((byte) 0);

  /** What is done to a tensor. */
  record Damage(String what, Consumer<MemoryTensor> to, String names) {
    boolean strikes(String name) {
      return name.matches(names);
    }

    @Override
    public String toString() {
      return what;
    }
  }

  static Stream<Damage> damages() {
    List<Damage> all = new ArrayList<>();
    for (int layer : new int[] {BEFORE, GONE, BEHIND}) {
      String prefix = "model\\.layers\\." + layer + "\\.";
      all.add(new Damage("zeros in layer " + layer, ZERO, prefix + ".*"));
      all.add(new Damage("zero norms in layer " + layer, ZERO, prefix + ".*layernorm.*"));
      all.add(new Damage("zero gate in layer " + layer, ZERO, prefix + "mlp.gate.*"));
      all.add(new Damage("one value in layer " + layer, t -> fill(t, 0.5), prefix + ".*"));
    }
    all.add(new Damage("zeros in all layers", ZERO, ANY));
    all.add(new Damage("zero values", ZERO, ANY + "v_proj.*"));
    all.add(new Damage("zero embedding", ZERO, "model.embed_tokens.*"));
    all.add(new Damage("zero final norm", ZERO, "model.norm.*"));
    all.add(new Damage("twice the same channel", DamagedModelTest::repeatRows, ANY + "mlp.*"));
    all.add(new Damage("the largest values", t -> fill(t, 3e38), ANY + BEFORE + ".*down_proj.*"));
    all.add(new Damage("large up projections", t -> fill(t, 1e25), ANY + "up_proj.*"));
    all.add(new Damage("small values", t -> fill(t, 1e-38), ANY));
    return all.stream();
  }

  static void fill(MemoryTensor tensor, double value) {
    for (long i = 0; i < tensor.elements(); i++) {
      tensor.set(i, value);
    }
  }

  private static void repeatRows(MemoryTensor tensor) {
    for (long i = tensor.columns(); i < tensor.elements(); i++) {
      tensor.set(i, tensor.get(i % tensor.columns()));
    }
  }

  @ParameterizedTest
  @MethodSource("damages")
  void everyRuleEndsWithFiniteTensors(Damage damage) {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        MemoryArena memory = new MemoryArena()) {
      endsWithFiniteTensors(backend, model, damage, memory);
    }
  }

  /** Every rule on one damaged model. */
  public static void endsWithFiniteTensors(
      Backend backend, Checkpoint model, Damage damage, MemoryArena memory) {
    for (FitRule rule : FitRule.presets()) {
      CarryOver.Result result = fit(backend, model, damage, rule, memory);
      result
          .tensors()
          .tensors()
          .forEach(
              (name, tensor) ->
                  assertEquals(
                      -1, NonFinite.first(tensor.dtype(), tensor.data()), rule + ": " + name));
      for (FitReport.Fitted matrix : result.fitted()) {
        assertTrue(Double.isFinite(matrix.error()), () -> rule + ": " + matrix);
      }
      for (FitReport.Learned point : result.curve()) {
        assertTrue(Double.isFinite(point.error()), () -> rule + ": " + point);
      }
      assertTrue(Double.isFinite(result.finalNorm()), rule::toString);
    }
  }

  /** Of zero channels nothing can be made. */
  @Test
  void aMatrixOfZeroFeaturesIsLeftAsItIsAndNamed() {
    Damage damage = new Damage("zero gates", ZERO, ANY + "gate_proj.*");
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        MemoryArena memory = new MemoryArena()) {
      CarryOver.Result result = fit(backend, model, damage, FitRule.FIT, memory);
      assertEquals(List.of(new FitReport.LeftAlone(BEFORE, LayerRole.DOWN)), result.leftAlone());
      assertEquals(List.of(), result.fitted());
      assertTrue(result.tensors().isEmpty());
    }
  }

  private static CarryOver.Result fit(
      Backend backend, Checkpoint model, Damage damage, FitRule rule, MemoryArena memory) {
    List<int[]> texts = Fixtures.tokens(FIXTURE, "calib");
    List<FitText.Chunk> chunks =
        IntStream.range(0, texts.size())
            .mapToObj(i -> new FitText.Chunk(texts.get(i), i, "a text"))
            .toList();
    CollapsePlan plan =
        CollapsePlan.identity(PlanApplier.source(model))
            .fold(BEFORE, 1, MergeRule.DROP, NormsPolicy.BASE);
    try (MemoryArena copies = new MemoryArena();
        CarryOver carryOver =
            new CarryOver(
                new RunningModel(backend, model.config(), damaged(model, damage, copies)),
                WholeText.of(new FitText("a text", chunks)))) {
      return carryOver.fit(plan, rule, 1, true, memory, (done, total) -> {});
    }
  }

  /** The model, but for the damage. */
  private static TensorSource damaged(Checkpoint model, Damage damage, MemoryArena copies) {
    Map<String, HostTensor> struck = new HashMap<>();
    for (String name : model.weightNames()) {
      if (damage.strikes(name)) {
        HostTensor own = model.tensor(name);
        HostTensor copy = HostTensor.allocate(copies, name, own.dtype(), own.shape());
        copy.data().copyFrom(own.data());
        damage.to.accept(MemoryTensor.of(copy));
        struck.put(name, copy);
      }
    }
    assertFalse(struck.isEmpty(), damage::toString);
    return name -> {
      HostTensor copy = struck.get(name);
      return copy == null ? model.tensor(name) : copy;
    };
  }
}
