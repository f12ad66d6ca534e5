package dev.laco.bench;

import dev.laco.backend.Backend;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import org.jspecify.annotations.Nullable;

/**
 * Puts code in front of all methods of a backend. What it costs a call, some tens of nanoseconds,
 * is little beside an op.
 */
public final class CallsOf {
  private CallsOf() {}

  /** What happens in place of a call. */
  @FunctionalInterface
  public interface Handler {
    /**
     * Answers a call.
     *
     * @param rest makes the call that this one takes the place of
     */
    @Nullable Object handle(Method method, @Nullable Object[] arguments, Call rest)
        throws Throwable;
  }

  /** A call of the backend. */
  @FunctionalInterface
  public interface Call {
    /** Makes the call. */
    @Nullable Object make() throws Throwable;
  }

  /** A backend whose calls the handler answers. */
  public static Backend backend(Backend backend, Handler handler) {
    return (Backend)
        Proxy.newProxyInstance(
            CallsOf.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (proxy, method, arguments) ->
                handler.handle(
                    method,
                    arguments == null ? new Object[0] : arguments,
                    () -> {
                      try {
                        return method.invoke(backend, arguments);
                      } catch (InvocationTargetException e) {
                        throw e.getCause();
                      }
                    }));
  }
}
