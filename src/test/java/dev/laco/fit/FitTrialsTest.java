package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.DType;
import dev.laco.model.PackedSequences;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What quick fits, and what compares them, take is in the memory plan. */
class FitTrialsTest {
  private static final String FIXTURE = "llama_untied_gqa";

  private final FitText text =
      new FitText(
          "a text",
          Fixtures.tokens(FIXTURE, "calib").stream()
              .map(ids -> new FitText.Chunk(ids, 0, "a text"))
              .toList());

  /** Bytes of tensors that are allocated. */
  private long bytes;

  private long most;

  /** The different tokens of each batch that is made. */
  private final List<Set<Integer>> batches = new ArrayList<>();

  @Test
  void whatComparesFitsTakesWhatIsPlanned() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        Backend backend = counted(new ReferenceBackend(Compute.F32))) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      try (HeldOutTokens _ = new HeldOutTokens(running, text.chunks())) {
        assertEquals(HeldOutTokens.bytes(backend, model.config(), text.chunks()), bytes);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"fit", "refine"})
  void quickFitsTakeNoMoreThanIsPlanned(String rule) {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        Backend backend = counted(new ReferenceBackend(Compute.F32))) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      CollapsePlan plan =
          CollapsePlan.identity(PlanApplier.source(model))
              .fold(3, 1, MergeRule.DROP, NormsPolicy.BASE);
      try (FitTrials trials = new FitTrials(running, text, QuickFits.LARGEST)) {
        trials.nll(plan, FitRule.named(rule), 1);
      }
      assertEquals(0, bytes);
      long planned = FitTrials.bytes(backend, model.config(), text);
      assertTrue(most <= planned, most + " of " + planned + " bytes");
      assertTrue(planned <= FittedChoice.bytes(backend, model.config(), text, WholeText.of(text)));
    }
  }

  /** Also where the beginning of the text that it sees has few documents. */
  @Test
  void aQuickFitSeesNothingOfTheDocumentsThatModelsAreComparedOn() {
    // Every token of a document is its number.
    List<FitText.Chunk> documents =
        Stream.of(0, 7, 3, 5, 1, 2, 4, 6, 8)
            .map(number -> new FitText.Chunk(filled(number), number, "a text"))
            .toList();
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        Backend backend = counted(new ReferenceBackend(Compute.F32))) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      try (FitTrials _ =
          new FitTrials(
              running, new FitText("a text", documents), QuickFits.of(FitRule.REFINE, false))) {
        assertEquals(List.of(Set.of(7), Set.of(0, 3, 5), Set.of(7)), batches);
      }
    }
  }

  private static int[] filled(int number) {
    int[] ids = new int[FitText.CHUNK_TOKENS];
    Arrays.fill(ids, number);
    return ids;
  }

  /** The backend, whose tensors are counted. */
  private Backend counted(Backend backend) {
    return (Backend)
        Proxy.newProxyInstance(
            Backend.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (proxy, method, arguments) -> {
              try {
                if (method.getName().equals("batch")) {
                  int[] ids = ((PackedSequences) arguments[0]).tokens();
                  batches.add(IntStream.of(ids).boxed().collect(Collectors.toSet()));
                }
                Object result = method.invoke(backend, arguments);
                return result instanceof TensorArena arena ? new CountedArena(arena) : result;
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
  }

  private final class CountedArena implements TensorArena {
    private final TensorArena arena;
    private long own;

    CountedArena(TensorArena arena) {
      this.arena = arena;
    }

    @Override
    public Tensor allocate(DType dtype, long rows, long columns) {
      long more = MemoryTensor.byteSize(dtype, rows, columns);
      own += more;
      bytes += more;
      most = Math.max(most, bytes);
      return arena.allocate(dtype, rows, columns);
    }

    @Override
    public void close() {
      bytes -= own;
      own = 0;
      arena.close();
    }
  }
}
