package dev.laco.cli;

import dev.laco.BadInputException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.HubCache;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/** A checkpoint that was opened and checked, with its tokenizer if it has one. */
final class OpenModel implements AutoCloseable {
  /** What commands say of MODEL. */
  static final String MODEL =
      "Folder of a Hugging Face checkpoint, or the id (ORG/NAME) of one that was downloaded.";

  private final Path directory;
  private final Checkpoint checkpoint;
  private final Optional<Tokenizer> tokenizer;

  private OpenModel(Path directory, Checkpoint checkpoint, Optional<Tokenizer> tokenizer) {
    this.directory = directory;
    this.checkpoint = checkpoint;
    this.tokenizer = tokenizer;
  }

  /**
   * Opens a model.
   *
   * @throws dev.laco.BadInputException if it is broken or not supported
   */
  static OpenModel open(Path model) {
    Path directory = folder(model);
    Checkpoint checkpoint = Checkpoint.open(directory);
    try {
      return new OpenModel(directory, checkpoint, Tokenizer.load(directory));
    } catch (RuntimeException e) {
      checkpoint.close();
      throw e;
    }
  }

  /**
   * The folder of MODEL, which may be an id of the Hugging Face hub.
   *
   * @throws dev.laco.BadInputException if there is no such folder, nor such a model in the cache
   */
  static Path folder(Path model) {
    return HubCache.folder(model, System.getenv());
  }

  Path directory() {
    return directory;
  }

  Checkpoint checkpoint() {
    return checkpoint;
  }

  ModelConfig config() {
    return checkpoint.config();
  }

  Optional<Tokenizer> tokenizer() {
    return tokenizer;
  }

  /** All texts have been read: what the tokenizer took is free for the model. */
  void textsAreRead() {
    tokenizer.ifPresent(Tokenizer::rest);
  }

  CalibrationSet.Target target() {
    return new CalibrationSet.Target(
        tokenizer, config().vocabSize(), config().maxPositionEmbeddings());
  }

  /**
   * What least squares are fitted on.
   *
   * @param file what {@code --fit-text} names; null for the model's own {@code fit.txt} if it has
   *     one, else the built-in text
   * @throws dev.laco.BadInputException if the text cannot be used with this model
   */
  FitText fitText(@Nullable Path file) {
    Path text = file != null ? file : ownFile("fit.txt");
    return text != null ? FitText.read(text, target()) : FitText.builtIn(target());
  }

  /**
   * A file that the checkpoint brings along, or null where it has none of that name.
   *
   * @throws BadInputException if it is a link to nothing: something else would be taken unseen
   */
  @Nullable Path ownFile(String name) {
    Path own = directory.resolve(name);
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

  /** {@code LlamaForCausalLM, 16 layers, 7,084,224 parameters, bf16, 14.2 MB}. */
  String describe() {
    return String.format(
        Locale.ROOT,
        "%s, %d layers, %,d parameters, %s, %s",
        config().architecture().className(),
        config().numHiddenLayers(),
        checkpoint.parameterCount(),
        dtypes(checkpoint),
        ByteSize.show(checkpoint.totalBytes()));
  }

  /** The type of the first layer's matrices, which others usually have, too. */
  DType weightType() {
    String name =
        config().architecture().layerTensors(config()).stream()
            .filter(spec -> spec.shape().size() == 2)
            .findFirst()
            .map(spec -> config().architecture().tensorName(0, spec))
            .orElseThrow();
    return checkpoint.file(name).tensor(name).dtype();
  }

  /** The element types of the weights, {@code bf16} or {@code bf16 and f32}. */
  static String dtypes(Checkpoint checkpoint) {
    TreeSet<String> names = new TreeSet<>();
    checkpoint.tensors().forEach(tensor -> names.add(tensor.type().shortName()));
    return String.join(" and ", names);
  }

  @Override
  public void close() {
    tokenizer.ifPresent(Tokenizer::close);
    checkpoint.close();
  }
}
