package dev.laco.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import dev.laco.BadInputException;
import dev.laco.InputFile;
import dev.laco.InputJson;
import dev.laco.Legible;
import dev.laco.SystemMemory;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.scaled.QuantisedWeights;
import dev.laco.checkpoint.table.TableLimits;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.checkpoint.tokenizer.FolderTokenizer;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.ElementType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.Multimodal;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * A Hugging Face checkpoint: a folder with {@code config.json} and weights in safetensors files or
 * in files of {@code torch.save}, one or several; or a GGUF file. The weights are mapped into
 * memory and never copied to the heap. Symbolic links are followed, as Hugging Face's cache has
 * them.
 */
public final class Checkpoint implements TensorSource, AutoCloseable {
  /** The name of the config file. */
  public static final String CONFIG = "config.json";

  /** Bytes of each sample of a tensor that {@link #weightsDigest} hashes. */
  private static final int SAMPLE = 4096;

  private static final JsonMapper SORTED_JSON =
      JsonMapper.builder().enable(JsonNodeFeature.WRITE_PROPERTIES_SORTED).build();

  private final Path directory;
  private final ObjectNode configJson;
  private final List<WeightFile> files;
  private final Map<String, WeightFile> fileOf;
  private final SequencedMap<String, String> metadata;
  private final SequencedMap<String, Supplier<String>> madeFiles;
  private final @Nullable GgufHeader gguf;
  private final boolean largerThanMemory;
  private final ReadAhead readAhead = new ReadAhead();
  private final Set<String> finite = ConcurrentHashMap.newKeySet();
  private @Nullable ModelConfig config;
  private @Nullable String weightsDigest;

  private Checkpoint(
      Path directory,
      ObjectNode configJson,
      List<WeightFile> files,
      Map<String, WeightFile> fileOf,
      SequencedMap<String, String> metadata,
      SequencedMap<String, Supplier<String>> madeFiles,
      @Nullable GgufHeader gguf) {
    this.directory = directory;
    this.configJson = configJson;
    this.files = files;
    this.fileOf = fileOf;
    this.metadata = Collections.unmodifiableSequencedMap(metadata);
    this.madeFiles = Collections.unmodifiableSequencedMap(madeFiles);
    this.gguf = gguf;
    this.largerThanMemory = totalBytes() > SystemMemory.available();
  }

  /** Whether a path leads to a file that begins as GGUF files do, whatever its name. */
  public static boolean isGguf(Path path) {
    return GgufModel.is(path);
  }

  /**
   * Opens a checkpoint that the engine can work on.
   *
   * @throws BadInputException if a file is missing or wrong, or the model is not supported; the
   *     message names the file and the reason
   */
  public static Checkpoint open(Path directory) {
    Checkpoint checkpoint = openAny(directory);
    try {
      checkpoint.requireSupported();
      return checkpoint;
    } catch (RuntimeException e) {
      checkpoint.close();
      throw e;
    }
  }

  /**
   * Opens a checkpoint of any architecture, for inspection. Config, index and the tensor table of
   * every shard are checked; whether the tensors make a model is not.
   *
   * @throws BadInputException naming the file and what is wrong with it
   */
  public static Checkpoint openAny(Path directory) {
    if (GgufModel.is(directory)) {
      return openGguf(directory);
    }
    if (!Files.isDirectory(directory)) {
      throw new BadInputException(
          directory
              + ": is no folder; expected a Hugging Face checkpoint (config.json and weights) or a"
              + " GGUF file");
    }
    ObjectNode config = InputJson.readObject(directory.resolve(CONFIG));
    QuantisedWeights quantised = QuantisedWeights.of(config);
    WeightFiles weights = WeightFiles.find(directory);
    OpenFiles.require(directory, weights.shards().size());
    List<WeightFile> files = new ArrayList<>();
    try {
      Map<String, WeightFile> fileOf = new TreeMap<>();
      for (Path shard : weights.shards()) {
        WeightFile file =
            quantised == null
                ? WeightFile.open(shard)
                : WeightFile.open(shard, quantised.tables(Container.of(shard)));
        files.add(file);
        if (fileOf.size() + file.tensors().size() > TableLimits.MAX_TENSORS) {
          throw new BadInputException(
              String.format(
                  Locale.ROOT,
                  "%s: the files of this checkpoint hold more than %d tensors",
                  shard,
                  TableLimits.MAX_TENSORS));
        }
        addTensors(file, fileOf);
      }
      Map<String, Path> index = weights.index();
      if (quantised != null) {
        index = quantised.weights(index);
        // The weights are no longer quantised where they are used or written.
        config.remove(QuantisedWeights.KEY);
      }
      checkIndex(weights.indexFile(), index, fileOf);
      return new Checkpoint(
          directory,
          config,
          List.copyOf(files),
          fileOf,
          new LinkedHashMap<>(),
          FolderTokenizer.of(directory),
          null);
    } catch (RuntimeException e) {
      files.forEach(WeightFile::close);
      throw e;
    }
  }

  private static Checkpoint openGguf(Path path) {
    GgufModel model = new GgufModel();
    WeightFile file = WeightFile.open(path, model);
    try {
      Map<String, WeightFile> fileOf = new TreeMap<>();
      addTensors(file, fileOf);
      return new Checkpoint(
          path,
          model.config(),
          List.of(file),
          fileOf,
          model.shown(),
          model.files(path),
          model.header());
    } catch (RuntimeException e) {
      file.close();
      throw e;
    }
  }

  private static void addTensors(WeightFile file, Map<String, WeightFile> fileOf) {
    for (TensorInfo tensor : file.tensors()) {
      WeightFile other = fileOf.put(tensor.name(), file);
      if (other != null) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: tensor '%s' is also in %s",
                file.path(),
                Legible.excerpt(tensor.name()),
                other.path().getFileName()));
      }
    }
  }

  /**
   * Checks that every tensor of the index lies in the file that the index names, and that every
   * tensor of the shards is in the index.
   */
  private static void checkIndex(
      Path indexFile, Map<String, Path> index, Map<String, WeightFile> fileOf) {
    if (index.isEmpty()) {
      return;
    }
    index.forEach(
        (name, path) -> {
          WeightFile file = fileOf.get(name);
          if (file == null) {
            throw new BadInputException(
                String.format(
                    Locale.ROOT,
                    "%s: tensor '%s' is not in %s",
                    indexFile,
                    Legible.excerpt(name),
                    path.getFileName()));
          }
          if (!file.path().equals(path)) {
            throw new BadInputException(
                String.format(
                    Locale.ROOT,
                    "%s: tensor '%s' should be in %s but is in %s",
                    indexFile,
                    Legible.excerpt(name),
                    path.getFileName(),
                    file.path().getFileName()));
          }
        });
    fileOf.forEach(
        (name, file) -> {
          if (!index.containsKey(name)) {
            throw new BadInputException(
                String.format(
                    Locale.ROOT,
                    "%s: tensor '%s' of %s is not in the index",
                    indexFile,
                    Legible.excerpt(name),
                    file.path().getFileName()));
          }
        });
  }

  /** What stands before the tensors of a GGUF file; null for a folder. */
  public @Nullable GgufHeader gguf() {
    return gguf;
  }

  /** The folder, by the path that it was opened with. */
  public Path directory() {
    return directory;
  }

  /**
   * The file of that name in the folder, or null where there is none.
   *
   * @throws BadInputException if the file is a link to nothing, in the place of which the caller
   *     would silently use another text
   */
  public @Nullable Path ownFile(String name) {
    Path own = directory.resolve(name);
    if (!Files.isDirectory(directory)) {
      return null;
    }
    if (Files.exists(own)) {
      return own;
    }
    if (Files.isSymbolicLink(own)) {
      throw new BadInputException(
          own
              + ": is a link to "
              + target(own)
              + ", which is not there: restore it or remove the link");
    }
    return null;
  }

  private static String target(Path link) {
    try {
      return Files.readSymbolicLink(link).toString();
    } catch (IOException e) {
      return "a file";
    }
  }

  /** A copy of {@code config.json}, with all digits of its numbers. */
  public ObjectNode configJson() {
    return configJson.deepCopy();
  }

  /** The name of the config for messages: that of {@code config.json}, or of a GGUF file. */
  public String configName() {
    return metadata.isEmpty() ? directory.resolve(CONFIG).toString() : directory.toString();
  }

  /**
   * The config as the engine understands it.
   *
   * @throws BadInputException if a field is missing or wrong, or the model is not supported
   */
  public ModelConfig config() {
    if (config == null) {
      config = configOf(configJson);
    }
    return config;
  }

  /**
   * The config of a model that is made of this one, as the engine understands it.
   *
   * @throws BadInputException if a field is missing or wrong
   */
  public ModelConfig configOf(ObjectNode made) {
    return ModelConfig.parse(
        configName(),
        made,
        name -> Optional.ofNullable(fileOf.get(name)).map(file -> file.info(name).shape()));
  }

  /**
   * A value of {@code config.json}; of a multimodal model that of its language model, where the
   * root has none. A missing node where there is none, or {@code null}.
   */
  public JsonNode configValue(String key) {
    return Multimodal.value(configJson, key);
  }

  /**
   * Checks that the engine can work on this model: a known architecture, no quantised weights, and
   * exactly the tensors that the config calls for, in the right shapes.
   *
   * @throws BadInputException if it cannot; the message says why
   */
  public void requireSupported() {
    TensorTable.check(directory.toString(), config(), fileOf);
  }

  /**
   * Names of the model's tensors in the order of their use in a forward pass, tied weights once.
   */
  public List<String> weightNames() {
    return List.copyOf(TensorTable.expected(config()).keySet());
  }

  /**
   * Names of the tensors of a multimodal model that are not of its language model, and of layers
   * that predict tokens beyond the next one, sorted. The engine does not run them; a folder that is
   * made of the model has them as they are.
   */
  public List<String> besideNames() {
    return fileOf.keySet().stream()
        .filter(name -> TensorTable.isKeptBeside(name, config()))
        .sorted()
        .toList();
  }

  /** Whether there are layers that predict tokens beyond the next one. */
  public boolean hasPredictionLayers() {
    return fileOf.keySet().stream()
        .anyMatch(name -> config().architecture().isOfPrediction(name, config()));
  }

  private Stream<String> allNames() {
    return Stream.concat(weightNames().stream(), besideNames().stream());
  }

  private List<String> sortedWeights() {
    return weightNames().stream().sorted().toList();
  }

  /** Number of parameters, tied weights once, those beside a language model included. */
  public long parameterCount() {
    return allNames().mapToLong(name -> file(name).info(name).elements()).sum();
  }

  /**
   * {@code sha256:} and the hash of what a plan depends on: the config, and name, type and shape of
   * every weight. The order of the config's keys, its layout, the container and the files in which
   * tensors lie, and tensors that are no weights do not matter.
   */
  public String digest() {
    StringBuilder text = new StringBuilder();
    try {
      text.append(SORTED_JSON.writeValueAsString(configJson)).append('\n');
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e);
    }
    sortedWeights().forEach(name -> text.append(tableRow(file(name).info(name))));
    return "sha256:" + new Sha256().update(text.toString().getBytes(StandardCharsets.UTF_8)).hex();
  }

  /**
   * {@code sha256:} and the hash of name, type, shape and a sample of the bytes of every weight:
   * all bytes of a small one, begin, middle and end of a large one. The hash differs between
   * checkpoints of the same shapes. Computing it reads a few megabytes of the largest checkpoint,
   * without the mapping, so that no weights stay in memory. It is computed once.
   *
   * @throws BadInputException if a file became shorter since it was opened
   */
  public synchronized String weightsDigest() {
    if (weightsDigest == null) {
      Sha256 hash = new Sha256();
      sortedWeights().forEach(name -> addSample(hash, file(name), file(name).info(name)));
      weightsDigest = "sha256:" + hash.hex();
    }
    return weightsDigest;
  }

  private static void addSample(Sha256 hash, WeightFile file, TensorInfo info) {
    hash.update(tableRow(info).getBytes(StandardCharsets.UTF_8));
    long size = info.byteSize();
    if (size <= 3 * SAMPLE) {
      addBytes(hash, file, info, 0, (int) size);
    } else {
      addBytes(hash, file, info, 0, SAMPLE);
      addBytes(hash, file, info, (size - SAMPLE) / 2, SAMPLE);
      addBytes(hash, file, info, size - SAMPLE, SAMPLE);
    }
  }

  private static void addBytes(
      Sha256 hash, WeightFile file, TensorInfo info, long offset, int count) {
    ByteBuffer bytes = ByteBuffer.allocate(count);
    file.read(info, offset, bytes);
    hash.update(bytes.flip());
  }

  private static String tableRow(TensorInfo info) {
    return String.format(
        Locale.ROOT, "%s %s %s\n", TextNode.valueOf(info.name()), info.type(), info.shape());
  }

  /**
   * The metadata of a GGUF file for people: values as text, of a list its type and length. Empty
   * for a folder.
   */
  public SequencedMap<String, String> metadata() {
    return metadata;
  }

  /**
   * The files of Hugging Face's layout, as {@code tokenizer.json}, that the metadata of a GGUF file
   * stand for, or older files of a folder: their text by name. A supplier throws a {@link
   * BadInputException} where these are broken or of a kind that is not known.
   */
  public SequencedMap<String, Supplier<String>> madeFiles() {
    return madeFiles;
  }

  /**
   * The object of one of the {@link #madeFiles}, or of a JSON file of the folder; a missing node
   * where there is neither.
   *
   * @throws BadInputException if it is broken
   */
  public JsonNode json(String file) {
    Supplier<String> made = madeFiles.get(file);
    if (made != null) {
      return InputJson.parse(directory.toString(), made.get());
    }
    Path own = directory.resolve(file);
    return InputFile.isThere(own) ? InputJson.readObject(own) : MissingNode.getInstance();
  }

  /** The files that hold the weights. */
  public List<WeightFile> files() {
    return files;
  }

  /** The rows of all tensor tables, by file and by offset. */
  public List<TensorInfo> tensors() {
    return files.stream().map(WeightFile::tensors).flatMap(Collection::stream).toList();
  }

  /** Bytes of the model's weights in its files, tied weights once, with those beside. */
  public long storedBytes() {
    return allNames().mapToLong(name -> file(name).info(name).byteSize()).sum();
  }

  /** Bytes of the model's weights in memory, tied weights once. */
  public long weightBytes() {
    return weightNames().stream().mapToLong(this::byteSize).sum();
  }

  /** Bytes of all tensors, those that are no weights included. */
  public long totalBytes() {
    return tensors().stream().mapToLong(TensorInfo::byteSize).sum();
  }

  /** Bytes of the tensors of layer {@code layer}. */
  public long layerBytes(int layer) {
    return config().architecture().tensorNames(layer, config()).stream()
        .mapToLong(this::byteSize)
        .sum();
  }

  /**
   * {@inheritDoc} Waits until a {@link #prefetch} of the tensor has ended, and checks at the first
   * call for a tensor that its values are finite.
   *
   * @throws BadInputException if there is no such tensor, it is not F32, F16 or BF16, it holds NaN
   *     or infinity, or the size of its file changed since it was opened
   */
  @Override
  public HostTensor tensor(String name) {
    readAhead.await(name);
    requireFinite(name);
    return file(name).tensor(name);
  }

  /** The element type of the first layer's matrices, which usually is that of all matrices. */
  public DType matrixType() {
    Architecture architecture = config().architecture();
    return architecture.layerTensors(config(), 0).stream()
        .filter(TensorSpec::isMatrix)
        .findFirst()
        .map(spec -> placeOf(architecture.tensorName(0, spec)).dtype())
        .orElseThrow();
  }

  /** The type in which the values of a tensor are stored. */
  public ElementType storedType(String name) {
    return file(name).info(name).type();
  }

  /**
   * A tensor by which a device knows a weight that it holds. Its values must not be read where a
   * pool may have given them up.
   */
  public HostTensor placeOf(String name) {
    return file(name).placeOf(name);
  }

  @Override
  public long byteSize(String name) {
    return file(name).info(name).weightBytes();
  }

  @Override
  public void prefetch(List<String> names) {
    names.forEach(name -> readAhead.begin(name, () -> bringIn(name)));
  }

  /** A reader of these tensors beside others. */
  public WeightReader reader() {
    return new WeightReader(this, this);
  }

  /**
   * A reader of the same tensors without the check that their values are finite, for a caller that
   * looks at the values elsewhere and says so by {@link #foundFinite}.
   */
  public WeightReader uncheckedReader() {
    return new WeightReader(this, unchecked());
  }

  private TensorSource unchecked() {
    return new TensorSource() {
      @Override
      public HostTensor tensor(String name) {
        readAhead.await(name);
        return file(name).tensor(name);
      }

      @Override
      public long byteSize(String name) {
        return Checkpoint.this.byteSize(name);
      }

      @Override
      public void prefetch(List<String> names) {
        names.forEach(name -> readAhead.begin(name, () -> bringInAny(name)));
      }

      @Override
      public void release() {
        Checkpoint.this.release();
      }
    };
  }

  /** Whether all values of a tensor are known to be finite. */
  public boolean isKnownFinite(String name) {
    return finite.contains(name);
  }

  /** Says that all values of a tensor are finite: {@link #requireFinite} looks no more. */
  public void foundFinite(String name) {
    finite.add(name);
  }

  /** Reads a tensor into memory, whatever its values are. */
  private void bringInAny(String name) {
    try {
      file(name).bringIn(name);
    } catch (BadInputException | InternalError e) {
      // The file was cut short; the next reader of the tensor gives the error.
    }
  }

  /**
   * Reads a tensor into memory. A tensor that is read for the first time is checked for values that
   * are not finite while it is read; see {@link #requireFinite}.
   */
  private void bringIn(String name) {
    if (finite.contains(name)) {
      bringInAny(name);
      return;
    }
    try {
      if (file(name).bringInFinite(name)) {
        finite.add(name);
      }
    } catch (BadInputException | InternalError e) {
      // The file was cut short; requireFinite, or the next reader of the tensor, gives the error.
    }
  }

  /**
   * {@inheritDoc}
   *
   * @throws BadInputException see {@link #requireIntact}
   */
  @Override
  public void release() {
    requireIntact();
  }

  /**
   * Checks that every byte of the weights that was read until now was in its file. Where another
   * process cut a file short, reading it gave zeros behind the new end.
   *
   * @throws BadInputException if a file was cut short, so that results computed from it are wrong
   */
  public void requireIntact() {
    files.forEach(WeightFile::requireIntact);
  }

  /**
   * Frees the memory of a tensor's pages. The next access reads the tensor again: from the system's
   * page cache, or from the disk if the checkpoint is larger than the memory that was available
   * when it was opened. What a {@link WeightReader} holds stays.
   */
  public void giveUp(String name) {
    readAhead.await(name);
    file(name).giveUp(name, largerThanMemory);
  }

  /**
   * Checks that all values of a tensor are finite. A later call for the same tensor does nothing.
   *
   * @throws BadInputException naming file, tensor and index of the first
   */
  public void requireFinite(String name) {
    if (!finite.contains(name)) {
      FiniteCheck.require(file(name), name);
      finite.add(name);
    }
  }

  /**
   * Checks that all values of embedding, final norm and head are finite.
   *
   * @throws BadInputException naming file, tensor and index of the first
   */
  public void requireFiniteOutsideLayers() {
    Architecture architecture = config().architecture();
    Stream.concat(
            Stream.of(architecture.embedding(), architecture.head()),
            architecture.finalNormTensors().stream())
        .filter(weightNames()::contains)
        .forEach(
            name -> {
              boolean inUse = file(name).isDecoded(name);
              try (WeightReader reader = reader()) {
                reader.hold(name);
                requireFinite(name);
              }
              if (!inUse) {
                file(name).giveUp(name, false);
              }
            });
  }

  /**
   * Whether a tensor has the type and the bytes of one of another checkpoint. Neither of the two
   * stays in memory by that.
   *
   * @param otherName of the other checkpoint's tensor
   * @throws BadInputException as {@link #tensor}
   */
  public boolean isSame(String name, Checkpoint other, String otherName) {
    if (placeOf(name).dtype() != other.placeOf(otherName).dtype()) {
      return false;
    }
    boolean inUse = file(name).isDecoded(name);
    boolean otherInUse = other.file(otherName).isDecoded(otherName);
    try (WeightReader reader = reader();
        WeightReader otherReader = other.reader()) {
      return reader.tensor(name).data().mismatch(otherReader.tensor(otherName).data()) < 0;
    } finally {
      if (!inUse) {
        file(name).giveUp(name, false);
      }
      if (!otherInUse) {
        other.file(otherName).giveUp(otherName, false);
      }
    }
  }

  /** The file that holds a tensor. */
  public WeightFile file(String name) {
    WeightFile file = fileOf.get(name);
    if (file == null) {
      throw new BadInputException(
          String.format(Locale.ROOT, "%s: tensor '%s' is missing", directory, name));
    }
    return file;
  }

  @Override
  public void close() {
    files.forEach(WeightFile::cancel);
    readAhead.close();
    files.forEach(WeightFile::close);
  }
}
