package dev.laco.text;

import ai.djl.engine.EngineException;
import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import dev.laco.BadInputException;
import dev.laco.ResourceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Stream;

/**
 * The tokenizer of a checkpoint: its {@code tokenizer.json} run by Hugging Face's own library (the
 * carrier is DJL), offline.
 *
 * <p>The file alone decides what is added to a text, by its post-processor. {@code add_bos_token}
 * and its like in {@code tokenizer_config.json} are not read: they are instructions for building a
 * post-processor, and a published {@code tokenizer.json} has it built already. Truncation and
 * padding that the file asks for are switched off, since a measurement needs every token and no
 * other.
 *
 * <p>Instances own native memory; use after {@link #close} is an error. Not for use by several
 * threads at once.
 */
public final class Tokenizer implements AutoCloseable {
  private static final String FILE_NAME = "tokenizer.json";

  /** The native library, loaded on first use. */
  private static final class Library {
    static final TokenizersLibrary LIBRARY = load();

    /**
     * DJL unpacks its library into a cache folder, by default in the user's home, under a name that
     * concurrent runs share; on a machine with CUDA it would look for another build on the network.
     * Here it goes to a folder of this process's own, gone again once the library is mapped.
     */
    private static TokenizersLibrary load() {
      System.setProperty("ai.djl.offline", "true");
      System.setProperty("RUST_FLAVOR", "cpu");
      String temporary = System.getProperty("java.io.tmpdir");
      try {
        Path unpacked = Files.createTempDirectory("laco-tokenizers");
        try {
          System.setProperty("ENGINE_CACHE_DIR", unpacked.toString());
          LibUtils.checkStatus();
        } finally {
          delete(unpacked);
        }
      } catch (IOException | EngineException e) {
        throw new ResourceException(
            "the tokenizer library cannot be unpacked into "
                + temporary
                + " and loaded from there ("
                + rootMessage(e)
                + "): it needs 16 MB in a folder that allows execution, set TMPDIR to one",
            e);
      }
      return TokenizersLibrary.LIB;
    }

    private static void delete(Path folder) throws IOException {
      try (Stream<Path> paths = Files.walk(folder)) {
        for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(path);
        }
      }
    }

    private static String rootMessage(Throwable error) {
      Throwable root = error;
      for (Throwable cause = root.getCause(); cause != null; cause = root.getCause()) {
        root = cause;
      }
      return String.valueOf(root.getMessage());
    }
  }

  private final Path file;
  private final OptionalInt bos;
  private long handle;

  private Tokenizer(Path file, long handle) {
    this.file = file;
    this.handle = handle;
    int[] plain = encodeWithoutSpecial("a");
    int[] full = encode("a");
    boolean prefixed =
        full.length > plain.length
            && plain.length > 0
            && Arrays.equals(full, 1, 1 + plain.length, plain, 0, plain.length)
            && full[0] != plain[0];
    this.bos = prefixed ? OptionalInt.of(full[0]) : OptionalInt.empty();
  }

  /**
   * Loads the tokenizer of a checkpoint directory; empty if the directory has no {@code
   * tokenizer.json}.
   *
   * @throws BadInputException if the file cannot be read or is not a tokenizer
   * @throws ResourceException if the native library cannot be unpacked or loaded
   */
  public static Optional<Tokenizer> load(Path modelDirectory) {
    Path file = modelDirectory.resolve(FILE_NAME);
    // A dangling link, as a half-downloaded cache has them, is an error and no absence.
    if (Files.notExists(file, LinkOption.NOFOLLOW_LINKS)) {
      return Optional.empty();
    }
    String json = TextFile.read(file);
    TokenizersLibrary library = Library.LIBRARY;
    long handle;
    try {
      handle = library.createTokenizerFromString(json);
    } catch (RuntimeException e) {
      throw new BadInputException(
          file + ": not a tokenizer that the Hugging Face library reads: " + e.getMessage(), e);
    }
    library.disableTruncation(handle);
    library.disablePadding(handle);
    return Optional.of(new Tokenizer(file, handle));
  }

  /** Token ids of a text with the special tokens that the model's tokenizer adds. */
  public int[] encode(String text) {
    return encode(text, true);
  }

  /** Token ids of the text itself: no BOS, no EOS. */
  public int[] encodeWithoutSpecial(String text) {
    return encode(text, false);
  }

  private int[] encode(String text, boolean addSpecial) {
    long encoding = encoding(text, addSpecial);
    try {
      long[] ids = Library.LIBRARY.getTokenIds(encoding);
      return Arrays.stream(ids).mapToInt(Math::toIntExact).toArray();
    } finally {
      Library.LIBRARY.deleteEncoding(encoding);
    }
  }

  private long encoding(String text, boolean addSpecial) {
    long tokenizer = open();
    try {
      return Library.LIBRARY.encode(tokenizer, text, addSpecial);
    } catch (RuntimeException e) {
      throw new BadInputException(file + ": cannot encode text: " + e.getMessage(), e);
    }
  }

  /**
   * The text of token ids, special tokens left out. Bytes that are no complete character become
   * U+FFFD; to print a text token by token use {@link #streamingDecoder}.
   */
  public String decode(int[] ids) {
    return Library.LIBRARY.decode(open(), Arrays.stream(ids).asLongStream().toArray(), true);
  }

  /** Turns tokens that arrive one by one into text that never shows half a character. */
  public StreamingDecoder streamingDecoder() {
    return new StreamingDecoder(this);
  }

  /** The token that the tokenizer's post-processor puts before every text, if it puts one. */
  public OptionalInt bos() {
    return bos;
  }

  private long open() {
    if (handle == 0) {
      throw new IllegalStateException("the tokenizer is closed");
    }
    return handle;
  }

  @Override
  public void close() {
    if (handle != 0) {
      Library.LIBRARY.deleteTokenizer(handle);
      handle = 0;
    }
  }
}
