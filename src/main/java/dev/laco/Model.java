package dev.laco;

import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.HubCache;
import dev.laco.checkpoint.tokenizer.ChatFiles;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.text.ChatTemplate;
import dev.laco.text.Tokenizer;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import java.util.TreeSet;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A model on disk: a checkpoint that was opened and checked, with its tokenizer if it has one.
 * Several jobs may read its weights at once, quantised ones, too: what one job gives up stays in
 * memory while another holds it. Not for use by two jobs at once if they read texts, since its
 * tokenizer is one process.
 */
public final class Model implements AutoCloseable {
  private final Path directory;
  private final Checkpoint checkpoint;
  private final Optional<Tokenizer> tokenizer;
  private final double openSeconds;

  private Model(
      Path directory, Checkpoint checkpoint, Optional<Tokenizer> tokenizer, double openSeconds) {
    this.directory = directory;
    this.checkpoint = checkpoint;
    this.tokenizer = tokenizer;
    this.openSeconds = openSeconds;
  }

  /**
   * Opens a model.
   *
   * @param model the folder of a checkpoint, a GGUF file, or the id of a checkpoint in the Hugging
   *     Face hub's cache
   * @throws BadInputException if there is no such model, a file of it is broken, or its
   *     architecture is not supported
   */
  public static Model open(Path model) {
    long start = System.nanoTime();
    Path directory = folder(model);
    Checkpoint checkpoint = Checkpoint.open(directory);
    try {
      Supplier<String> made = checkpoint.madeFiles().get("tokenizer.json");
      Optional<Tokenizer> tokenizer =
          made == null
              ? Tokenizer.load(directory)
              : Optional.of(Tokenizer.of(directory.toString(), made));
      ChatFiles files = new ChatFiles(directory, () -> checkpoint.json("tokenizer_config.json"));
      ChatTemplate chats =
          new ChatTemplate(
              directory.toString(), files::template, files::templateForTools, files::specialTokens);
      return new Model(
          directory, checkpoint, tokenizer.map(each -> each.with(chats)), Seconds.since(start));
    } catch (RuntimeException e) {
      checkpoint.close();
      throw e;
    }
  }

  /**
   * The folder of a model, which may be named by its id in the Hugging Face hub.
   *
   * @throws BadInputException if there is no such folder, nor such a model in the cache
   */
  public static Path folder(Path model) {
    return HubCache.folder(model, System.getenv());
  }

  /** The checkpoint's folder, or its GGUF file. */
  public Path directory() {
    return directory;
  }

  /**
   * The model's name for people: that of its folder or file, and of a snapshot in the Hugging Face
   * hub's cache the last part of the repository's name.
   */
  public String name() {
    return name(directory);
  }

  /** The name for people of the model in a folder or file, as {@link #name()}. */
  public static String name(Path model) {
    return HubCache.name(model);
  }

  /** The checkpoint: config and weights. */
  public Checkpoint checkpoint() {
    return checkpoint;
  }

  /** The checkpoint's config. */
  public ModelConfig config() {
    return checkpoint.config();
  }

  /**
   * The tokenizer; empty where the checkpoint has no {@code tokenizer.json} and nothing that one
   * can be made of.
   */
  @SuppressWarnings("exports")
  public Optional<Tokenizer> tokenizer() {
    return tokenizer;
  }

  /** What the model lacks where {@link #tokenizer} is empty. */
  public MissingTokenizer missingTokenizer() {
    return checkpoint.gguf() == null ? MissingTokenizer.OF_FOLDER : MissingTokenizer.OF_GGUF;
  }

  /** Seconds that {@link #open} took. */
  public double openSeconds() {
    return openSeconds;
  }

  /**
   * Ends the process of the tokenizer, so that its memory is free for the model. The next text
   * starts the process again.
   */
  public void textsAreRead() {
    tokenizer.ifPresent(Tokenizer::rest);
  }

  /**
   * The file of that name in the checkpoint's folder, or null where there is none.
   *
   * @throws BadInputException if the file is a link to nothing, in the place of which the caller
   *     would silently use another text
   */
  public @Nullable Path ownFile(String name) {
    return checkpoint.ownFile(name);
  }

  /**
   * The model for people: {@code LlamaForCausalLM, 16 layers, 7,084,224 parameters, bf16, 14.2 MB}.
   */
  public String describe() {
    return String.format(
        Locale.ROOT,
        "%s, %d layers, %,d parameters, %s, %s",
        config().architecture().className(),
        config().numHiddenLayers(),
        checkpoint.parameterCount(),
        dtypes(checkpoint),
        ByteSize.show(checkpoint.storedBytes()));
  }

  /** The element type of the first layer's matrices, which usually is that of all matrices. */
  public DType weightType() {
    return checkpoint.matrixType();
  }

  /** The element types of the weights, {@code bf16} or {@code bf16 and f32}. */
  public static String dtypes(Checkpoint checkpoint) {
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
