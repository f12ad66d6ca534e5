package dev.laco.text;

import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import dev.laco.Legible;
import dev.laco.ResourceException;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A process that runs Hugging Face's library ({@link TokenizerServer}) and nothing else. A panic or
 * an endless recursion of the library ends the process that it runs in; with some patterns or texts
 * the library runs for ever. Here each of these ends only the other process, and this class throws
 * a {@link Failure}.
 *
 * <p>The other process ignores the signals of a terminal. It ends at the end of its standard input,
 * and therefore ends with this process, however this process ends. Not for use by several threads
 * at once.
 */
final class TokenizerProcess implements AutoCloseable {
  /** Why a request has no answer. */
  static final class Failure extends Exception {
    private static final long serialVersionUID = 1L;

    /** Where the cause of a failure is. */
    enum Kind {
      /** In the file or the text: the library said what is wrong with them. The process goes on. */
      REFUSED,
      /** In the file or the text: they ended the process. */
      FATAL,
      /**
       * In memory or disk that did not suffice, or in someone who killed the process. The process
       * has ended.
       */
      LACKING
    }

    private final Kind kind;
    private final @Nullable String component;

    private Failure(Kind kind, String message, @Nullable String component) {
      super(message);
      this.kind = kind;
      this.component = component;
    }

    Kind kind() {
      return kind;
    }

    /** The key of {@code tokenizer.json} whose value failed; null where that is not known. */
    @Nullable String component() {
      return component;
    }
  }

  /**
   * How much time and memory a request may take.
   *
   * @param time the time of any request
   * @param timePerMegabyte additional time for each megabyte of the request's content
   * @param memory bytes of memory of the process
   * @param memoryPerFileByte additional bytes of memory for each byte of the file that the process
   *     has loaded
   * @param memoryPerByte additional bytes of memory for each byte of the request's content
   */
  record Limits(
      Duration time,
      Duration timePerMegabyte,
      long memory,
      int memoryPerFileByte,
      int memoryPerByte) {
    /**
     * About ten times the time and twice the memory of texts without a break, which take the most
     * of both.
     */
    static final Limits USUAL =
        new Limits(Duration.ofSeconds(30), Duration.ofSeconds(20), 1L << 30, 64, 400);

    private Duration time(long bytes) {
      return time.plus(timePerMegabyte.multipliedBy(bytes).dividedBy(1_000_000));
    }

    private long memory(long fileBytes, long bytes) {
      return memory + fileBytes * memoryPerFileByte + bytes * memoryPerByte;
    }
  }

  /** A request under way. */
  private static final class Request {
    final Duration time;
    final long memory;

    Request(Duration time, long memory) {
      this.time = time;
      this.memory = memory;
    }
  }

  /** Writes the content of a request. */
  private interface Question {
    void write(DataOutputStream out) throws IOException;
  }

  /** Most bytes of an answer: 16 million ids. */
  private static final int MAX_ANSWER_BYTES = 1 << 26;

  /** Most bytes of the process's standard error that are read. */
  private static final int MAX_ERROR_BYTES = 1 << 14;

  /**
   * The longest start that is waited for. A start takes less than a second, and a few seconds on a
   * busy machine.
   */
  private static final Duration START_TIME = Duration.ofSeconds(60);

  private static final int POLL_MILLIS = 50;

  private static final Pattern PANIC = Pattern.compile("panicked at (.*?):?\\R(.*)");

  /**
   * Parts of the names of the library's source files, as its messages have them, and the key of
   * {@code tokenizer.json} that each source implements.
   */
  private static final Map<String, String> COMPONENTS =
      Map.of(
          "/normalizers/", "normalizer",
          "/spm_precompiled", "normalizer",
          "/pre_tokenizers/", "pre_tokenizer",
          "/models/", "model",
          "/processors/", "post_processor",
          "/decoders/", "decoder",
          "/added_vocabulary", "added_tokens");

  private final Limits limits;
  private final Process process;
  private final DataOutputStream out;
  private final DataInputStream in;
  private long fileBytes;
  private volatile @Nullable Request request;

  /** The limit that a request exceeded, for which the process was ended; null if there is none. */
  private volatile @Nullable String exceeded;

  /** Why the process has ended; null while it runs. */
  private @Nullable Failure failure;

  private TokenizerProcess(Limits limits, Process process) {
    this.limits = limits;
    this.process = process;
    out = new DataOutputStream(new BufferedOutputStream(process.getOutputStream(), 1 << 16));
    in = new DataInputStream(process.getInputStream());
  }

  /**
   * Starts a process and waits until it has loaded the library, which the process unpacks into a
   * folder that only this user can write to; the folder is removed afterwards.
   *
   * @throws ResourceException if the process or the library cannot be started
   */
  static TokenizerProcess start(Limits limits) {
    Path folder;
    try {
      folder = Files.createTempDirectory("laco-tokenizers");
    } catch (IOException e) {
      throw lacking(e.toString(), e);
    }
    try {
      TokenizerProcess started = new TokenizerProcess(limits, launch(folder));
      Thread watch = new Thread(started::watch, "tokenizer-watch");
      watch.setDaemon(true);
      watch.start();
      started.answerTo(new Request(START_TIME, limits.memory), nothing -> {});
      return started;
    } catch (IOException e) {
      throw new ResourceException(
          "the tokenizer library needs a process of its own, which cannot be started: "
              + Legible.excerpt(String.valueOf(e.getMessage())),
          e);
    } catch (Failure e) {
      throw lacking(e.getMessage(), e);
    } finally {
      deleteUnpacked(folder);
    }
  }

  private static Process launch(Path folder) throws IOException {
    ProcessBuilder builder =
        JavaProcess.of(
            TokenizerServer.class,
            List.of(TokenizersLibrary.class),
            List.of("-Xmx1g"),
            List.of(folder.toAbsolutePath().toString()));
    Map<String, String> environment = builder.environment();
    environment.put("RUST_BACKTRACE", "0");
    environment.put("TOKENIZERS_PARALLELISM", "false");
    return builder.start();
  }

  private static ResourceException lacking(@Nullable String reason, Exception cause) {
    return new ResourceException(
        "the tokenizer library cannot be unpacked into "
            + System.getProperty("java.io.tmpdir")
            + " and loaded from there ("
            + Legible.excerpt(String.valueOf(reason))
            + "): it needs 16 MB in a folder that allows execution, set TMPDIR to one",
        cause);
  }

  /** Deletes the folder of a process that ended before it could delete the folder itself. */
  private static void deleteUnpacked(Path folder) {
    try {
      Files.deleteIfExists(folder.resolve(TokenizerServer.UNPACKED));
      Files.deleteIfExists(folder);
    } catch (IOException e) {
      // Someone has taken away the right to delete files there; the folder stays.
    }
  }

  /**
   * Loads the content of a {@code tokenizer.json}, which takes the place of the content loaded
   * before.
   */
  void load(String json) throws Failure {
    byte[] content = utf8(json);
    fileBytes = content.length;
    ask(TokenizerServer.LOAD, content);
  }

  /** The token ids of a text. */
  int[] encode(String text, boolean addSpecial) throws Failure {
    int what = addSpecial ? TokenizerServer.ENCODE_WITH_SPECIAL : TokenizerServer.ENCODE;
    IntBuffer answer = ByteBuffer.wrap(ask(what, utf8(text))).asIntBuffer();
    int[] ids = new int[answer.remaining()];
    answer.get(ids);
    return ids;
  }

  /** The text of token ids, with that of special tokens or without. */
  String decode(int[] ids, boolean withSpecial) throws Failure {
    int what = withSpecial ? TokenizerServer.DECODE_WITH_SPECIAL : TokenizerServer.DECODE;
    ByteBuffer content = ByteBuffer.allocate(Math.multiplyExact(Integer.BYTES, ids.length));
    content.asIntBuffer().put(ids);
    return new String(ask(what, content.array()), StandardCharsets.UTF_8);
  }

  /** Whether the process runs and can take another request. */
  boolean isAlive() {
    return failure == null && process.isAlive();
  }

  /** The process id. */
  long pid() {
    return process.pid();
  }

  private byte[] ask(int what, byte[] content) throws Failure {
    return answerTo(
        new Request(limits.time(content.length), limits.memory(fileBytes, content.length)),
        to -> {
          to.writeByte(what);
          to.writeInt(content.length);
          to.write(content);
          to.flush();
        });
  }

  private byte[] answerTo(Request made, Question question) throws Failure {
    if (failure != null) {
      throw failure;
    }
    request = made;
    try {
      question.write(out);
      int how = in.readUnsignedByte();
      byte[] content = content();
      if (how == TokenizerServer.OK) {
        return content;
      }
      if (how == TokenizerServer.REFUSED) {
        throw new Failure(Failure.Kind.REFUSED, text(content), null);
      }
      close();
      failure = new Failure(Failure.Kind.LACKING, text(content), null);
      throw failure;
    } catch (IOException e) {
      failure = ended();
      throw failure;
    } finally {
      request = null;
    }
  }

  private byte[] content() throws IOException {
    int length = in.readInt();
    if (length < 0 || length > MAX_ANSWER_BYTES) {
      exceeded = "an answer of more than " + megabytes(MAX_ANSWER_BYTES);
      throw new IOException(exceeded);
    }
    byte[] content = new byte[length];
    in.readFully(content);
    return content;
  }

  /** The failure that says why there was no answer. */
  private Failure ended() {
    String errors = "";
    try {
      if (process.waitFor(1, TimeUnit.SECONDS)) {
        errors = text(process.getErrorStream().readNBytes(MAX_ERROR_BYTES));
      }
    } catch (IOException e) {
      // Without standard error, the exit code alone tells what happened.
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    close();
    if (exceeded != null) {
      return new Failure(Failure.Kind.FATAL, exceeded, null);
    }
    Matcher panic = PANIC.matcher(errors);
    if (panic.find()) {
      return new Failure(Failure.Kind.FATAL, "panic: " + panic.group(2), component(panic.group(1)));
    }
    if (!errors.isBlank()) {
      return new Failure(Failure.Kind.FATAL, errors.strip().replaceAll("\\R", " "), null);
    }
    int code = process.exitValue();
    return code == 128 + 9
        ? new Failure(
            Failure.Kind.LACKING, "its process was killed, by the system if memory ran out", null)
        : new Failure(Failure.Kind.FATAL, "its process crashed with exit code " + code, null);
  }

  private static @Nullable String component(String source) {
    return COMPONENTS.entrySet().stream()
        .filter(entry -> source.contains(entry.getKey()))
        .map(Map.Entry::getValue)
        .findFirst()
        .orElse(null);
  }

  /** Ends the process when a request exceeds a limit. */
  private void watch() {
    Request watched = null;
    // Time is counted by polls and not read from a clock, since a process that was stopped was not
    // slow.
    int polls = 0;
    while (process.isAlive()) {
      try {
        Thread.sleep(POLL_MILLIS);
      } catch (InterruptedException e) {
        return;
      }
      Request now = request;
      polls = now == watched ? polls + 1 : 0;
      watched = now;
      if (now != null) {
        String excess = excess(now, Duration.ofMillis((long) polls * POLL_MILLIS));
        if (excess != null) {
          exceeded = excess;
          process.destroyForcibly();
          return;
        }
      }
    }
  }

  private @Nullable String excess(Request of, Duration taken) {
    if (taken.compareTo(of.time) > 0) {
      return "no answer within " + of.time.toMillis() / 1000.0 + " s";
    }
    return residentBytes() > of.memory ? "more than " + megabytes(of.memory) + " of memory" : null;
  }

  /** Bytes of memory that the process holds; 0 once it has ended. */
  private long residentBytes() {
    try {
      return Files.readAllLines(Path.of("/proc/" + process.pid() + "/status")).stream()
          .filter(line -> line.startsWith("VmRSS:"))
          .mapToLong(line -> 1024 * Long.parseLong(line.replaceAll("\\D", "")))
          .sum();
    } catch (IOException e) {
      return 0;
    }
  }

  private static String megabytes(long bytes) {
    return String.format(Locale.ROOT, "%,d MB", bytes / 1_000_000);
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static String text(byte[] utf8) {
    return new String(utf8, StandardCharsets.UTF_8);
  }

  /** Ends the process. */
  @Override
  public void close() {
    process.destroyForcibly();
    try {
      process.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
