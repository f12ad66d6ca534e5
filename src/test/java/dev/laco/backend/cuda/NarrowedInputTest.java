package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.Head;
import dev.laco.backend.LinearSystem;
import dev.laco.backend.LinearSystem.Difference;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.SequenceStates;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Parameter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * A product rounds its input to 16 bits and keeps that for the next product of the same input: no
 * op may write to a tensor without that being noticed. For every op of the interfaces and every
 * tensor among its arguments: a product of the tensor, the op, and the product again, which must be
 * that of a copy of the tensor.
 */
class NarrowedInputTest {
  private static final double EPS = 1e-5;
  private static final NormSpec NORM = new NormSpec(EPS, 1);
  private static final DeltaSpec DELTA = new DeltaSpec(1, 2, 3, 3);
  private static final TrainingOps.AdamW ADAM_W =
      new TrainingOps.AdamW(1, 0.1, 0.9, 0.9, 1e-8, 0.1, 1, 0);

  private final Random random = new Random(7);
  private final Arena memory = Arena.ofShared();
  private final List<AutoCloseable> opened = new ArrayList<>();
  private CudaBackend backend;
  private TensorArena arena;

  @BeforeEach
  void open() {
    EmulatedDevice.reset();
    backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM);
    arena = backend.arena();
  }

  @AfterEach
  void close() throws Exception {
    for (AutoCloseable each : opened) {
      each.close();
    }
    arena.close();
    backend.close();
    EmulatedDevice.assertNothingLeaks();
    memory.close();
  }

  @Test
  void everyOpOfABackendIsNoticed() throws Exception {
    assertNoticed(backend, Backend.class, this::arguments);
  }

  @Test
  void everyOpOfALinearSystemIsNoticed() throws Exception {
    String missing = backend.missingForSolver();
    assumeTrue(missing == null, missing);
    try (LinearSystem system = backend.solver().system(6, 6)) {
      assertNoticed(system, LinearSystem.class, this::arguments);
    }
  }

  @Test
  void everyOpOfTrainingIsNoticed() throws Exception {
    assertNoticed(backend.training(), TrainingOps.class, this::trainingArguments);
  }

  /** Arguments with which an op can be called; whoever adds an op adds a case here. */
  private Object[] arguments(String op) {
    return switch (op) {
      case "embed" -> new Object[] {weight(4, 6), batch(), 1.5, x()};
      case "rmsNorm" -> new Object[] {x(), weight(1, 6), NORM, x()};
      case "addRmsNorm" -> new Object[] {x(), x(), weight(1, 6), NORM, x()};
      case "layerNorm" -> new Object[] {x(), weight(1, 6), weight(1, 6), NORM, x()};
      case "addLayerNorm" -> new Object[] {x(), x(), weight(1, 6), weight(1, 6), NORM, x()};
      // Weights of f32: the product itself must not round anything else.
      case "linear" -> new Object[] {x(), weight(6, 6), null, x()};
      case "rope" -> new Object[] {x(), RotaryPairs.HALVES, 2, 0, batch(), x()};
      case "normRope" -> new Object[] {x(), weight(1, 6), NORM, 6, 0, batch(), x()};
      case "attention" ->
          new Object[] {
            x(),
            x(),
            x(),
            null,
            new AttentionSpec(1, 1, 6, 0, LogitSpec.PLAIN, DType.F32),
            batch(),
            x()
          };
      case "appendKeyValues" -> new Object[] {x(), x(), batch(), x(), x()};
      case "linearTransposed" -> new Object[] {x(), weight(6, 6), null, x()};
      case "clampedGate" -> new Object[] {tensor(2, 12), new ClampedGate(1.7, 7), x()};
      case "gatedActivation" -> new Object[] {Activation.SILU, x(), x(), x()};
      case "route" -> new Object[] {x(), null, RouterSpec.softmax(true), new int[4], new float[4]};
      case "gather" -> new Object[] {x(), new int[] {1, 1}, x()};
      case "causalConvolution" ->
          new Object[] {x(), tensor(6, 2), batch(), new SequenceStates(tensor(1, 6), 2), x()};
      case "gatedDelta" ->
          new Object[] {
            tensor(2, 12),
            tensor(2, 2),
            tensor(2, 2),
            tensor(1, 2),
            tensor(1, 2),
            DELTA,
            batch(),
            new SequenceStates(tensor(1, 18), 2),
            tensor(2, 6)
          };
      case "copyColumns" -> new Object[] {x(), 1, 2, x(), 3};
      case "gatherColumns" -> new Object[] {x(), new int[] {1, 1}, x(), 2L};
      case "addRows" -> new Object[] {x(), new int[] {0, 1}, new float[] {1, 2}, x()};
      case "add", "copy" -> new Object[] {x(), x()};
      case "multiply" -> new Object[] {x(), x(), x()};
      case "mix" -> new Object[] {mixes()};
      case "mixed" -> new Object[] {mixes(), 1L};
      case "cosine" -> new Object[] {x(), x(), batch()};
      case "pairProducts" -> new Object[] {List.of(x(), x()), 2};
      case "logits" -> new Object[] {x(), head(), tensor(2, 4)};
      case "sample" -> new Object[] {x(), 0.5, new double[2], new int[2]};
      case "logProbability" -> new Object[] {x(), head(), batch(), new double[2]};
      case "klDivergence" -> new Object[] {x(), x(), head(), batch(), new double[2]};
      case "crossProduct" -> new Object[] {x(), x(), tensor(6, 6)};
      case "addGram" -> new Object[] {x(), tensor(6, 6)};
      case "quadraticForms" -> new Object[] {x(), tensor(6, 6), x()};
      case "squareOfTriangle" -> new Object[] {tensor(6, 6), tensor(6, 6)};
      case "inverseRms" -> new Object[] {x(), EPS, tensor(2, 1)};
      case "scaledDifference" -> new Object[] {x(), x(), tensor(2, 1), x()};
      case "addSquares" -> new Object[] {x(), tensor(1, 6)};
      case "download whole" -> new Object[] {x(), host(DType.F32, 2, 6)};
      case "download" -> new Object[] {x(), new float[12]};
      case "zero" -> new Object[] {x()};
      case "upload" -> new Object[] {normal(12), x()};
      case "ridge" -> new Object[] {gram(), new Difference(x(), x()), 0.1, 0.1, x()};
      case "whitening" -> new Object[] {gram().all(), 6L, 0.1, tensor(6, 6)};
      default -> throw new AssertionError("no arguments for " + op);
    };
  }

  /** Likewise for an op of training. */
  private Object[] trainingArguments(String op) {
    AttentionSpec spec = new AttentionSpec(1, 1, 6, 0, LogitSpec.PLAIN, DType.F32);
    return switch (op) {
      case "linearGradient" -> new Object[] {x(), weight(6, 6), true, x()};
      case "addColumns" -> new Object[] {x(), tensor(1, 6)};
      case "rmsNormGradient" -> new Object[] {x(), weight(1, 6), NORM, x(), tensor(1, 6), x()};
      case "layerNormGradient" ->
          new Object[] {x(), weight(1, 6), NORM, x(), tensor(1, 6), tensor(1, 6), x()};
      case "ropeGradient" -> new Object[] {x(), RotaryPairs.HALVES, 2, 0, batch()};
      case "attention" -> new Object[] {x(), x(), x(), null, spec, batch(), x(), tensor(2, 1)};
      case "attentionGradient" ->
          new Object[] {x(), x(), x(), spec, batch(), x(), tensor(2, 1), x(), x(), x(), x()};
      case "causalConvolutionGradient" ->
          new Object[] {x(), tensor(6, 2), batch(), x(), tensor(6, 2), x()};
      case "gatedDelta" ->
          new Object[] {
            tensor(2, 12),
            tensor(2, 2),
            tensor(2, 2),
            tensor(1, 2),
            tensor(1, 2),
            DELTA,
            batch(),
            tensor(2, 6),
            tensor(2, 6)
          };
      case "gatedDeltaGradient" ->
          new Object[] {
            tensor(2, 12),
            tensor(2, 2),
            tensor(2, 2),
            tensor(1, 2),
            tensor(1, 2),
            DELTA,
            batch(),
            tensor(2, 6),
            tensor(2, 6),
            tensor(2, 12),
            tensor(2, 2),
            tensor(2, 2),
            tensor(2, 2)
          };
      case "gatedGradients" -> new Object[] {Activation.SILU, x(), x(), x()};
      case "clampedGateGradients" -> new Object[] {tensor(2, 12), new ClampedGate(1.702, 7), x()};
      case "rowProducts" -> new Object[] {x(), x(), tensor(2, 1)};
      case "distillationLoss" ->
          new Object[] {x(), x(), head(), batch(), 0.5, 1.0, new double[2], x()};
      case "sumsOfSquares" -> new Object[] {List.of(x(), tensor(1, 6))};
      case "adamW" ->
          new Object[] {
            List.of(new TrainingOps.Update(ADAM_W, tensor(1, 1), x(), x(), x(), x(), x()))
          };
      case "adamW8Bit" ->
          new Object[] {List.of(new TrainingOps.Update8Bit(ADAM_W, x(), tensor(1, 130), x(), x()))};
      case "dampings" ->
          new Object[] {
            new TrainingOps.Damping(1, 0.9, 1, 1), List.of(x(), x()), tensor(2, 2), tensor(2, 1)
          };
      default -> throw new AssertionError("no arguments for " + op);
    };
  }

  private void assertNoticed(Object target, Class<?> ops, Function<String, Object[]> arguments)
      throws Exception {
    TreeSet<String> calls = new TreeSet<>();
    for (Method op : ops.getMethods()) {
      // What returns a dtype computes nothing.
      if (op.getReturnType() == DType.class
          || Arrays.stream(op.getParameters()).noneMatch(NarrowedInputTest::holdsTensors)) {
        continue;
      }
      Class<?> last = op.getParameterTypes()[op.getParameterCount() - 1];
      String call = last == HostTensor.class ? op.getName() + " whole" : op.getName();
      calls.add(call);
      int count = tensors(arguments.apply(call)).size();
      boolean wrote = false;
      for (int i = 0; i < count; i++) {
        Object[] given = arguments.apply(call);
        wrote |= isNoticed(target, op, given, tensors(given).get(i), i);
      }
      boolean tellsTheHost =
          op.getReturnType().isArray()
              || op.getReturnType() == double.class
              || last == HostTensor.class
              || last.isArray();
      assertEquals(!tellsTheHost, wrote, call + " must write to a tensor or to the host");
    }
    assertTrue(calls.size() > 1, calls.toString());
  }

  /** Whether the op wrote to the tensor, which must have been noticed then. */
  private boolean isNoticed(Object target, Method op, Object[] arguments, Tensor tensor, int index)
      throws Exception {
    Tensor matrix = backend.weight(host(DType.BF16, 4, tensor.columns()));
    float[] before = values(tensor);
    product(tensor, matrix);
    try {
      op.invoke(target, arguments);
    } catch (InvocationTargetException e) {
      throw new AssertionError(op.getName(), e.getCause());
    }
    float[] after = product(tensor, matrix);
    float[] changed = values(tensor);
    Tensor copy = arena.allocate(DType.F32, tensor.rows(), tensor.columns());
    backend.upload(changed, copy);
    assertArrayEquals(
        product(copy, matrix), after, op.getName() + " of its tensor number " + index);
    return !Arrays.equals(before, changed);
  }

  private float[] product(Tensor x, Tensor matrix) {
    Tensor out = arena.allocate(DType.F32, x.rows(), matrix.rows());
    backend.linear(x, matrix, null, out);
    return values(out);
  }

  private static boolean holdsTensors(Parameter parameter) {
    return Stream.of(
            Tensor.class,
            Head.class,
            TensorMix.class,
            Difference.class,
            SequenceStates.class,
            TrainingOps.Update.class,
            TrainingOps.Update8Bit.class)
        .anyMatch(type -> parameter.getParameterizedType().getTypeName().contains(type.getName()));
  }

  private static List<Tensor> tensors(Object[] arguments) {
    return Arrays.stream(arguments).flatMap(NarrowedInputTest::tensors).toList();
  }

  private static Stream<Tensor> tensors(Object argument) {
    return switch (argument) {
      case Tensor tensor -> Stream.of(tensor);
      case Head head -> Stream.of(head.weight());
      case Difference(Tensor all, Tensor less) -> Stream.of(all, less).filter(x -> x != null);
      case SequenceStates states -> Stream.of(states.rows());
      case TensorMix mix -> Stream.concat(Stream.of(mix.out()), mix.sources().stream());
      case TrainingOps.Update x ->
          Stream.of(x.damping(), x.gradient(), x.mean(), x.square(), x.master(), x.weight());
      case TrainingOps.Update8Bit x -> Stream.of(x.gradient(), x.moments(), x.master(), x.weight());
      case List<?> list -> list.stream().flatMap(NarrowedInputTest::tensors);
      case null, default -> Stream.empty();
    };
  }

  private Tensor x() {
    return tensor(2, 6);
  }

  private Tensor tensor(int rows, int columns) {
    Tensor tensor = arena.allocate(DType.F32, rows, columns);
    backend.upload(normal(rows * columns), tensor);
    return tensor;
  }

  private List<TensorMix> mixes() {
    return List.of(
        new TensorMix(x(), new double[] {2}, List.of(x())),
        new TensorMix(x(), new double[] {1, -1}, List.of(x(), x())));
  }

  /** Symmetric and positive definite. */
  private Difference gram() {
    float[] values = new float[36];
    for (int i = 0; i < 6; i++) {
      Arrays.fill(values, 6 * i, 6 * i + 6, 0.5f);
      values[7 * i] = 2 + i;
    }
    Tensor all = arena.allocate(DType.F32, 6, 6);
    backend.upload(values, all);
    return new Difference(all, null);
  }

  private Head head() {
    return new Head(weight(4, 6), new LogitSpec(0.5, 3));
  }

  private Tensor weight(int rows, int columns) {
    return backend.weight(host(DType.F32, rows, columns));
  }

  private HostTensor host(DType dtype, long rows, long columns) {
    MemorySegment data = memory.allocate(MemoryTensor.byteSize(dtype, rows, columns), 64);
    MemoryTensor tensor = new MemoryTensor(dtype, rows, columns, data);
    for (long i = 0; i < tensor.elements(); i++) {
      tensor.set(i, random.nextGaussian());
    }
    return new HostTensor("test", dtype, List.of(rows, columns), data);
  }

  private TokenBatch batch() {
    float[] cosines = {0.8f, 0.8f};
    TokenBatch batch =
        backend.batch(
            PackedSequences.of(List.of(new int[] {1, 3})), 1, cosines, new float[] {0.6f, 0.6f});
    opened.add(batch);
    return batch;
  }

  private float[] normal(int n) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  private float[] values(Tensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    backend.download(tensor, values);
    return values;
  }
}
