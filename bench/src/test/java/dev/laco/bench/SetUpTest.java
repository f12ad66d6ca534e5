package dev.laco.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.runner.BenchmarkList;
import org.openjdk.jmh.runner.BenchmarkListEntry;
import org.openjdk.jmh.runner.format.OutputFormatFactory;
import org.openjdk.jmh.runner.options.VerboseMode;

/** What JMH does in front of a benchmark. */
class SetUpTest {
  /** JMH may call the methods of a class in front of those of the class that it extends. */
  @Test
  void oneMethodPreparesATrial() throws ClassNotFoundException {
    Set<String> names =
        BenchmarkList.defaultList()
            .getAll(
                OutputFormatFactory.createFormatInstance(System.out, VerboseMode.SILENT), List.of())
            .stream()
            .map(BenchmarkListEntry::getUserClassQName)
            .collect(Collectors.toSet());
    assertFalse(names.isEmpty());
    for (String name : names) {
      List<Method> methods = new ArrayList<>();
      for (Class<?> type = Class.forName(name); type != null; type = type.getSuperclass()) {
        for (Method method : type.getDeclaredMethods()) {
          Setup setup = method.getAnnotation(Setup.class);
          if (setup != null && setup.value() == Level.Trial) {
            methods.add(method);
          }
        }
      }
      assertEquals(1, methods.size(), methods.toString());
    }
  }
}
