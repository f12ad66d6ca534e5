package dev.laco.bench;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorMix;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** Adds up how long each op of a backend takes. */
final class TimedBackend {
  /** Methods that take tensors, and are no ops. */
  private static final Set<String> TRANSFERS = Set.of("download", "upload");

  private final Backend backend;
  private final Map<String, Long> nanoseconds = new TreeMap<>();

  TimedBackend(Backend backend) {
    this.backend = CallsOf.backend(backend, this::call);
  }

  /** The backend, timed. */
  Backend backend() {
    return backend;
  }

  /** Nanoseconds by op since the last {@link #reset}. */
  Map<String, Long> nanoseconds() {
    return nanoseconds;
  }

  /** Starts from zero. */
  void reset() {
    nanoseconds.clear();
  }

  private @Nullable Object call(Method method, @Nullable Object[] arguments, CallsOf.Call rest)
      throws Throwable {
    if (!isOp(method)) {
      return rest.make();
    }
    long start = System.nanoTime();
    Object result = rest.make();
    nanoseconds.merge(
        method.getName().equals("mixed") ? "mix" : method.getName(),
        System.nanoTime() - start,
        Long::sum);
    return result;
  }

  private static boolean isOp(Method method) {
    return !TRANSFERS.contains(method.getName())
        && Arrays.stream(method.getGenericParameterTypes())
            .anyMatch(
                parameter ->
                    Stream.of(Tensor.class, TensorMix.class)
                        .anyMatch(type -> parameter.getTypeName().contains(type.getName())));
  }
}
