package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ResourceException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.net.URI;
import java.net.URL;
import java.net.URLConnection;
import java.net.URLStreamHandler;
import java.nio.file.Path;
import java.security.CodeSigner;
import java.security.CodeSource;
import java.security.ProtectionDomain;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** The engine in an application of jars inside a jar, as Spring Boot makes them. */
final class NestedJarTest {
  private static final String NESTED = "jar:nested:/srv/app.jar/!BOOT-INF/lib/laco.jar!/";

  @Test
  void aProcessThatCannotStartFromAJarInsideAJarIsSaidWithARemedy() throws Exception {
    Class<?> type = new NestedLoader().loadClass(Tokenizer.class.getName());
    Object tokenizer =
        ((Optional<?>) type.getMethod("load", Path.class).invoke(null, Fixtures.STORYTELLER))
            .orElseThrow();
    InvocationTargetException thrown =
        assertThrows(
            InvocationTargetException.class,
            () -> type.getMethod("encode", String.class).invoke(tokenizer, "Once"));
    Throwable failure = thrown.getCause();
    assertEquals(ResourceException.class.getName(), failure.getClass().getName());
    assertTrue(failure.getMessage().contains(NESTED), failure.getMessage());
    assertTrue(failure.getMessage().contains("extract"), failure.getMessage());
  }

  /** Loads the engine's classes as from a jar inside a jar. */
  private static final class NestedLoader extends ClassLoader {
    private final CodeSource source = new CodeSource(url(), (CodeSigner[]) null);

    private NestedLoader() {
      super(NestedJarTest.class.getClassLoader());
    }

    private static URL url() {
      try {
        return URL.of(
            URI.create(NESTED),
            new URLStreamHandler() {
              @Override
              protected URLConnection openConnection(URL url) throws IOException {
                throw new IOException("nothing is there");
              }
            });
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
      synchronized (getClassLoadingLock(name)) {
        Class<?> loaded = findLoadedClass(name);
        if (loaded != null || !name.startsWith("dev.laco.")) {
          return loaded == null ? super.loadClass(name, resolve) : loaded;
        }
        try (InputStream in = getResourceAsStream(name.replace('.', '/') + ".class")) {
          if (in == null) {
            throw new ClassNotFoundException(name);
          }
          byte[] bytes = in.readAllBytes();
          ProtectionDomain domain = new ProtectionDomain(source, null, this, null);
          return defineClass(name, bytes, 0, bytes.length, domain);
        } catch (IOException e) {
          throw new ClassNotFoundException(name, e);
        }
      }
    }
  }
}
