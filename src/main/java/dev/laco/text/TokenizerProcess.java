package dev.laco.text;

import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import dev.laco.Legible;
import dev.laco.ResourceException;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.CodeSource;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A process of its own for Hugging Face's library ({@link TokenizerServer}). Where the library's
 * code panics or recurses without end, it ends the process that it runs in; with the wrong pattern
 * or text it goes on for ever. All of that happens to a process that holds nothing else, and is a
 * {@link Failure} here.
 *
 * <p>The process ignores the signals of a terminal. It ends when its standard input does, and so
 * with this process, however this one ends. Not for use by several threads at once.
 */
final class TokenizerProcess implements AutoCloseable {
  /** Why a request has no answer. */
  static final class Failure extends Exception {
    private static final long serialVersionUID = 1L;

    /** What is to blame. */
    enum Kind {
      /** File or text: the library said what is wrong with them. The process goes on. */
      REFUSED,
      /** File or text: the library did not survive them. The process has ended. */
      FATAL,
      /** Memory, disk, or who killed the process. The process has ended. */
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
   * What a request may take.
   *
   * @param time of any request
   * @param timePerMegabyte of the request's content, besides
   * @param memory bytes of the process
   * @param memoryPerFileByte of the file that it has loaded, besides
   * @param memoryPerByte of the request's content, besides
   */
  record Limits(
      Duration time,
      Duration timePerMegabyte,
      long memory,
      int memoryPerFileByte,
      int memoryPerByte) {
    /**
     * Some ten times the time and twice the memory that texts without a break take, which take the
     * most.
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

  /** Writes a request. */
  private interface Question {
    void write(DataOutputStream out) throws IOException;
  }

  /** The most that an answer may hold: 16 million ids. */
  private static final int MAX_ANSWER_BYTES = 1 << 26;

  /** The most of standard error that is looked at. */
  private static final int MAX_ERROR_BYTES = 1 << 14;

  /** Starting takes less than a second, on a busy machine a few. */
  private static final Duration START_TIME = Duration.ofSeconds(60);

  private static final int POLL_MILLIS = 50;

  /**
   * The process gets none of the signals that a terminal or the system sends to a whole group; it
   * dumps no core; and where the system runs out of memory, it goes first.
   */
  private static final String SHELL =
      """
      trap '' HUP INT QUIT TERM
      ulimit -c 0
      { echo 1000 >/proc/$$/oom_score_adj; } 2>/dev/null
      exec "$@"
      """;

  /** A quick start, little memory, and nothing of the JVM's own in files or on standard output. */
  private static final List<String> JAVA_OPTIONS =
      List.of(
          "-Xms8m",
          "-Xmx1g",
          "-Xss8m",
          "-Xrs",
          "-Xshare:auto",
          "-Xlog:disable",
          "-XX:+UseSerialGC",
          "-XX:TieredStopAtLevel=1",
          "-XX:-UsePerfData",
          "-XX:+SuppressFatalErrorMessage",
          "-XX:+DisplayVMOutputToStderr",
          "--enable-native-access=ALL-UNNAMED");

  private static final Pattern PANIC = Pattern.compile("panicked at (.*?):?\\R(.*)");

  /** Parts of the names of the library's sources, and the key whose value they carry out. */
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

  /** Which limit a request went beyond; the process was ended for it. */
  private volatile @Nullable String exceeded;

  /** Why the process has ended. */
  private @Nullable Failure failure;

  private TokenizerProcess(Limits limits, Process process) {
    this.limits = limits;
    this.process = process;
    out = new DataOutputStream(new BufferedOutputStream(process.getOutputStream(), 1 << 16));
    in = new DataInputStream(process.getInputStream());
  }

  /**
   * Starts a process and waits until it has loaded the library, which it unpacks into a folder of
   * this user's alone that is gone afterwards.
   *
   * @throws ResourceException if it cannot
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
    ProcessBuilder builder = new ProcessBuilder("/bin/sh", "-c", SHELL, "laco-tokenizer");
    List<String> command = builder.command();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(JAVA_OPTIONS);
    command.addAll(
        List.of("-cp", place(TokenizerServer.class) + ":" + place(TokenizersLibrary.class)));
    command.addAll(List.of(TokenizerServer.class.getName(), folder.toAbsolutePath().toString()));
    Map<String, String> environment = builder.environment();
    List.of("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS").forEach(environment::remove);
    environment.put("RUST_BACKTRACE", "0");
    environment.put("TOKENIZERS_PARALLELISM", "false");
    return builder.start();
  }

  /** The jar or folder of a class, wherever this process has it from. */
  private static String place(Class<?> type) {
    CodeSource source = type.getProtectionDomain().getCodeSource();
    return source == null
        ? System.getProperty("java.class.path")
        : Path.of(URI.create(source.getLocation().toString())).toString();
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

  /** Deletes what a process that was ended too early has left. */
  private static void deleteUnpacked(Path folder) {
    try {
      Files.deleteIfExists(folder.resolve(TokenizerServer.UNPACKED));
      Files.deleteIfExists(folder);
    } catch (IOException e) {
      // Whoever took the right to delete files away meanwhile has the folder now.
    }
  }

  /** Loads the content of a {@code tokenizer.json} in place of the one before. */
  void load(String json) throws Failure {
    byte[] content = utf8(json);
    fileBytes = content.length;
    ask(TokenizerServer.LOAD, content);
  }

  /** The ids of a text. */
  int[] encode(String text, boolean addSpecial) throws Failure {
    int what = addSpecial ? TokenizerServer.ENCODE_WITH_SPECIAL : TokenizerServer.ENCODE;
    IntBuffer answer = ByteBuffer.wrap(ask(what, utf8(text))).asIntBuffer();
    int[] ids = new int[answer.remaining()];
    answer.get(ids);
    return ids;
  }

  /** The text of ids, without special tokens. */
  String decode(int[] ids) throws Failure {
    ByteBuffer content = ByteBuffer.allocate(Math.multiplyExact(Integer.BYTES, ids.length));
    content.asIntBuffer().put(ids);
    return new String(ask(TokenizerServer.DECODE, content.array()), StandardCharsets.UTF_8);
  }

  /** Whether the process is there for another request. */
  boolean isAlive() {
    return failure == null && process.isAlive();
  }

  /** The number of the process. */
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

  /** Why there was no answer. */
  private Failure ended() {
    String errors = "";
    try {
      if (process.waitFor(1, TimeUnit.SECONDS)) {
        errors = text(process.getErrorStream().readNBytes(MAX_ERROR_BYTES));
      }
    } catch (IOException e) {
      // The exit code will have to do.
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

  /** Ends the process when a request goes beyond a limit. */
  private void watch() {
    Request watched = null;
    // Counted, not read from a clock: a process that was stopped has not been slow.
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

  /** Memory that the process holds; 0 once it has ended. */
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
