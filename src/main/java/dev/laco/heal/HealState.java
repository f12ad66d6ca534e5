package dev.laco.heal;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.checkpoint.LockFile;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.SafetensorsWriter;
import dev.laco.checkpoint.WeightFile;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStart;
import dev.laco.report.TrainingStep;
import dev.laco.training.Distillation;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * The state of a training on the disk, from which a job that was killed goes on. The folder has a
 * file of tensors and {@code state.json}, which names the file and appears in one step. A job that
 * makes the model itself that it trains keeps that model there, too, as {@code fitted.json}, with
 * its new tensors in {@code fitted.safetensors}.
 */
@SuppressWarnings("exports")
public final class HealState {
  private static final String FITTED = "fitted.json";
  private static final String FITTED_TENSORS = "fitted.safetensors";
  private static final String STATE = "state.json";
  private static final String PARTIAL = ".partial";
  private static final String TENSORS = "step-*.safetensors";
  private static final String LOCK = "lock";

  /** Writing a state takes at most this share of the time. */
  private static final double SHARE = 0.05;

  /** A step takes about 100 bytes. */
  private static final int MOST_STATE_BYTES = 256 << 20;

  /** Elements that are copied from the device at once. */
  private static final long PIECE = 1 << 20;

  private static final JsonMapper MAPPER = new JsonMapper();

  private final Path folder;
  private final JsonNode identity;
  private final double every;
  private long last = System.nanoTime();
  private double pause;

  /**
   * What makes jobs different: states are gone on from by the same job alone.
   *
   * @param request of the job
   * @param original the model that is pruned or imitated
   * @param text a hash of all texts that the result depends on
   * @param weights the dtype of the model's weights
   */
  public static ObjectNode identity(
      ObjectNode request,
      CollapsePlan.Source original,
      String text,
      Backend backend,
      DType weights) {
    ObjectNode identity = MAPPER.createObjectNode();
    identity.set("request", request);
    return identity
        .put("original", original.digest() + original.weights())
        .put("text", text)
        .put("device", backend.info().name())
        .put("products", backend.productType(weights).shortName());
  }

  /**
   * A state that may be there.
   *
   * @param folder in which the state is kept
   * @param identity of the job: {@link #identity}, and what else its result depends on
   * @param every seconds from one state to the next, at least
   */
  public HealState(Path folder, ObjectNode identity, double every) {
    this.folder = folder;
    this.identity = InputJson.parse(STATE, identity.toString());
    this.every = every;
    this.pause = every;
  }

  /**
   * Keeps other jobs from a folder of states, until the lock is deleted.
   *
   * @throws ResourceException if another job uses it, or it cannot be made
   */
  public static LockFile lock(Path folder) {
    return LockFile.ofFolder(
        folder,
        LOCK,
        "another training keeps its state there: wait until it ends, or choose another place for the"
            + " result");
  }

  /**
   * Bytes that a state which a job has left in a folder takes of those that a job which goes on
   * needs in all; 0 where there is none. Of several files of tensors, of which one was not
   * complete, the largest counts: another one is written before they are deleted.
   *
   * @throws IOException if the folder cannot be read
   */
  public static long bytesLeft(Path folder) throws IOException {
    Path fitted = folder.resolve(FITTED_TENSORS);
    long bytes = 0;
    if (Files.isDirectory(folder)) {
      try (DirectoryStream<Path> states = Files.newDirectoryStream(folder, TENSORS)) {
        for (Path tensors : states) {
          bytes = Math.max(bytes, Files.size(tensors));
        }
      }
    }
    return bytes + (Files.exists(fitted) ? Files.size(fitted) : 0);
  }

  /**
   * A training that was kept.
   *
   * @param start what it set out to do
   * @param reached how far it has come
   * @param seconds that it took
   * @param file of its tensors
   */
  record Kept(TrainingStart start, Distillation.Reached reached, double seconds, WeightFile file)
      implements AutoCloseable {
    /** A tensor of {@link Distillation#state} or {@link Distillation#best}. */
    HostTensor tensor(String name) {
      return file.tensor(name);
    }

    @Override
    public void close() {
      file.close();
    }
  }

  /**
   * The training that was kept; empty where there is none.
   *
   * @throws UsageException if it is that of another job
   * @throws BadInputException if the state is damaged
   */
  Optional<Kept> read() {
    Path state = folder.resolve(STATE);
    if (!Files.exists(state)) {
      requireOwn();
      return Optional.empty();
    }
    ObjectNode json = readOwn(state);
    try {
      return Optional.of(
          new Kept(
              MAPPER.treeToValue(json.get("start"), TrainingStart.class),
              new Distillation.Reached(
                  List.of(MAPPER.treeToValue(json.get("steps"), TrainingStep[].class)),
                  List.of(
                      MAPPER.treeToValue(json.get("measurements"), TrainingMeasurement[].class)),
                  MAPPER.treeToValue(json.get("best"), TrainingMeasurement.class)),
              json.get("seconds").doubleValue(),
              WeightFile.open(folder.resolve(json.get("tensors").textValue()))));
    } catch (JsonProcessingException e) {
      throw InputJson.error(state.toString(), e);
    }
  }

  private ObjectNode readOwn(Path file) {
    ObjectNode json = InputJson.readObject(file, MOST_STATE_BYTES);
    if (!identity.equals(json.get("job"))) {
      throw new UsageException(
          folder
              + ": holds the state of another training (another request, model or device): repeat"
              + " that one to go on with it, or delete the folder");
    }
    return json;
  }

  /** Where the state is kept. */
  public Path folder() {
    return folder;
  }

  /** The file that {@link #keepFitted} writes. */
  public Path fittedFile() {
    return folder.resolve(FITTED);
  }

  /**
   * Keeps the model that the training begins with.
   *
   * @param tensors its new tensors, which {@link PlanTensors#beside} finds for a plan that names
   *     them
   * @param json makes what is kept of the model, given the name of the file of its new tensors
   * @throws ResourceException if the disk is full or cannot be written
   */
  public void keepFitted(PlanTensors tensors, Function<String, ObjectNode> json) {
    try {
      if (!tensors.isEmpty()) {
        Path file = folder.resolve(FITTED_TENSORS);
        Files.deleteIfExists(file);
        tensors.write(file);
      }
      ObjectNode all = MAPPER.createObjectNode();
      all.set("job", identity);
      all.set("fitted", json.apply(FITTED_TENSORS));
      replace(FITTED, all);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(folder, e);
    }
  }

  /**
   * What was kept of the model that the training begins with; empty where there is none.
   *
   * @throws UsageException if it is that of another job, or the folder has something else
   */
  public Optional<JsonNode> fitted() {
    Path file = fittedFile();
    if (!Files.exists(file)) {
      requireOwn();
      return Optional.empty();
    }
    return Optional.of(readOwn(file).path("fitted"));
  }

  /**
   * Checks that the folder has nothing but the state of this job, if it is there.
   *
   * @throws UsageException if it has something else
   */
  private void requireOwn() {
    for (String name : List.of(FITTED, STATE)) {
      if (Files.exists(folder.resolve(name))) {
        readOwn(folder.resolve(name));
        return;
      }
    }
    try {
      if (Files.exists(folder)) {
        List<Path> own = files(TENSORS, PARTIAL, FITTED_TENSORS, LOCK);
        try (DirectoryStream<Path> all = Files.newDirectoryStream(folder)) {
          for (Path file : all) {
            if (!own.contains(file)) {
              throw new UsageException(
                  folder + ": holds something else than the state of a training: move it away");
            }
          }
        }
      }
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(folder, e);
    }
  }

  /** Writes the state if it is time for that. */
  void keep(
      TrainingStart start,
      Distillation training,
      Supplier<Distillation.Reached> reached,
      double seconds) {
    long now = System.nanoTime();
    if ((now - last) / 1e9 < pause) {
      return;
    }
    try {
      write(start, training, reached.get(), seconds);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(folder, e);
    }
    last = System.nanoTime();
    pause = Math.max(every, (last - now) / 1e9 / SHARE);
  }

  private void write(
      TrainingStart start, Distillation training, Distillation.Reached reached, double seconds)
      throws IOException {
    String name =
        String.format(Locale.ROOT, "step-%d.safetensors", reached.steps().getLast().number());
    Path tensors = folder.resolve(name);
    Files.deleteIfExists(tensors);
    List<OutputTensor> contents = new ArrayList<>();
    training.state().forEach((key, tensor) -> contents.add(held(training.backend(), key, tensor)));
    training
        .best()
        .forEach(
            (key, best) ->
                contents.add(OutputTensor.of(key, best.dtype(), best.shape(), best.data())));
    new SafetensorsWriter(contents).write(tensors, written -> {});
    ObjectNode json = MAPPER.createObjectNode();
    json.set("job", identity);
    json.put("tensors", name).put("seconds", seconds);
    json.set("start", MAPPER.valueToTree(start));
    json.set("measurements", MAPPER.valueToTree(reached.measurements()));
    json.set("best", MAPPER.valueToTree(reached.best()));
    json.set("steps", MAPPER.valueToTree(reached.steps()));
    replace(STATE, json);
    for (Path file : files(TENSORS)) {
      if (!file.equals(tensors)) {
        Files.delete(file);
      }
    }
  }

  /** Writes a file, which appears in one step. */
  private void replace(String name, ObjectNode json) throws IOException {
    Path partial = folder.resolve(PARTIAL);
    Files.deleteIfExists(partial);
    OutputFiles.write(partial, json.toString().getBytes(UTF_8));
    Files.move(partial, folder.resolve(name), StandardCopyOption.ATOMIC_MOVE);
    OutputFiles.forceNames(folder);
  }

  private static OutputTensor held(Backend backend, String name, Distillation.Held held) {
    return new OutputTensor(
        name,
        held.dtype(),
        List.of(held.elements()),
        channel -> {
          Tensor elements = held.tensor().get().reshape(held.elements(), 1);
          try (Arena arena = Arena.ofConfined()) {
            HostTensor room = HostTensor.allocate(arena, name, held.dtype(), List.of(PIECE));
            for (long first = 0; first < elements.rows(); first += PIECE) {
              long end = Math.min(first + PIECE, elements.rows());
              HostTensor piece = room.rows(0, end - first);
              backend.download(elements.slice(first, end), piece);
              OutputTensor.write(piece.data(), channel);
            }
          }
        });
  }

  /** The files of the folder that have one of these names. */
  private List<Path> files(String... patterns) throws IOException {
    List<Path> files = new ArrayList<>();
    for (String pattern : patterns) {
      try (DirectoryStream<Path> found = Files.newDirectoryStream(folder, pattern)) {
        found.forEach(files::add);
      }
    }
    return files;
  }

  /** Deletes the state, once its job is done. */
  public void delete() {
    try {
      if (Files.isDirectory(folder)) {
        // A folder without these files has no state.
        Files.deleteIfExists(folder.resolve(STATE));
        Files.deleteIfExists(fittedFile());
        for (Path file : files(TENSORS, PARTIAL, FITTED_TENSORS)) {
          Files.delete(file);
        }
      }
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(folder, e);
    }
  }
}
