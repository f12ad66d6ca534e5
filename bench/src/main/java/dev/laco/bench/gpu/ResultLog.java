package dev.laco.bench.gpu;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.ResourceException;
import dev.laco.bench.Machine;
import dev.laco.bench.Report;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.Map;

/** Results as lines of JSON, added to what a file already has, each as soon as it is measured. */
final class ResultLog {
  private final Path file;
  private final Map<String, Object> run = new LinkedHashMap<>();

  /** Every line says where and from what it was measured. */
  ResultLog(Path file, Machine machine, BenchDevice device) {
    this.file = file;
    run.put("date", machine.started());
    run.put("commit", machine.commit());
    run.put("card", device.card());
    run.put("computeCapability", device.capability());
    run.put("driver", device.driverVersion());
    run.put("cublas", device.cublasVersion());
    run.put("binding", device.binding().toString());
    run.put("emulated", device.isEmulated());
    run.put("system", machine.system());
    run.put("processor", machine.processor());
  }

  Path file() {
    return file;
  }

  void add(Report.Row row) {
    Map<String, Object> line = new LinkedHashMap<>(run);
    line.put("op", row.benchmark());
    put(row.parameters(), line);
    put(row.summary(), line);
    try {
      Files.writeString(
          file,
          new ObjectMapper().writeValueAsString(line) + "\n",
          StandardOpenOption.CREATE,
          StandardOpenOption.APPEND);
    } catch (JsonProcessingException e) {
      throw new AssertionError(e);
    } catch (IOException e) {
      throw new ResourceException("cannot write " + file + ": " + e.getMessage());
    }
  }

  /** A key stands for one thing. */
  private static void put(Map<String, ?> values, Map<String, Object> line) {
    values.forEach(
        (key, value) -> {
          Object other = line.put(key, value);
          if (other != null && !other.equals(value)) {
            throw new IllegalStateException("two values of " + key);
          }
        });
  }
}
