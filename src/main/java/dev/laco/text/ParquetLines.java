package dev.laco.text;

import com.fasterxml.jackson.core.JsonFactory;
import dev.hardwood.Hardwood;
import dev.laco.BadInputException;
import dev.laco.CancelledException;
import dev.laco.InputFile;
import dev.laco.Legible;
import dev.laco.ResourceException;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Parquet files as files of JSON objects, one a line for each row, which lie in a temporary folder
 * until this is closed.
 *
 * <p>The library that reads parquet believes the sizes that it finds in a file, and waits for ever
 * for columns that a damaged file lacks. So the library runs in a process of its own ({@link
 * ParquetServer}) with a limit of time and memory, which is started for the first file. Not for use
 * by several threads at once.
 */
public final class ParquetLines implements AutoCloseable {
  /** The time in which a file is read. */
  private static final Duration TIME = Duration.ofSeconds(30);

  /** Additional time for each megabyte of a file. */
  private static final Duration TIME_PER_MEGABYTE = Duration.ofSeconds(10);

  private static final int POLL_MILLIS = 5;

  /** The heap of the process, in megabytes. A file of 40 MB takes about a third of it. */
  private static final int HEAP = 1024;

  /** How the process ends where its heap does not suffice ({@code ExitOnOutOfMemoryError}). */
  private static final int OUT_OF_MEMORY = 3;

  /** How a process that was killed looks to a shell. */
  private static final int KILLED = 128 + 9;

  private final Runnable requireWanted;
  private final Duration time;
  private final Map<Path, LineFile> written = new HashMap<>();
  private @Nullable Path folder;
  private @Nullable Process process;

  /**
   * No file is read yet.
   *
   * @param requireWanted ends the reading of a file by an exception, if the job was cancelled
   */
  public ParquetLines(Runnable requireWanted) {
    this(requireWanted, TIME);
  }

  ParquetLines(Runnable requireWanted, Duration time) {
    this.requireWanted = requireWanted;
    this.time = time;
  }

  /**
   * The file of JSON objects that a parquet file becomes; it is made when it is first asked for.
   * Messages call a line of it a row of the parquet file.
   *
   * <p>Groups of columns become objects, lists lists, and texts, numbers, booleans and null
   * themselves.
   *
   * @throws BadInputException that names file, row group and column, if the file is no parquet
   *     file, is damaged, or has what is not read
   * @throws ResourceException if there is no room for the temporary file, or no process can be
   *     started
   */
  public LineFile of(Path parquet) {
    LineFile known = written.get(parquet);
    if (known != null) {
      return known;
    }
    InputFile.requireRegular(parquet);
    try {
      Path into = folder();
      Path target = into.resolve(written.size() + ".jsonl");
      Process reader = process(into);
      DataOutputStream out = new DataOutputStream(reader.getOutputStream());
      out.writeUTF(parquet.toAbsolutePath().toString());
      out.writeUTF(target.toAbsolutePath().toString());
      out.flush();
      String wrong = answer(reader, parquet);
      if (!wrong.isEmpty()) {
        throw new BadInputException(parquet + ": " + Legible.excerpt(wrong));
      }
      LineFile lines =
          new LineFile(target, row -> String.format(Locale.ROOT, "%s: row %d", parquet, row));
      written.put(parquet, lines);
      return lines;
    } catch (IOException e) {
      throw new ResourceException(
          "the rows of "
              + parquet
              + " cannot be written into "
              + System.getProperty("java.io.tmpdir")
              + " ("
              + Legible.excerpt(String.valueOf(e.getMessage()))
              + "): set TMPDIR to a folder with room for them",
          e);
    }
  }

  private Path folder() throws IOException {
    Path made = folder;
    if (made == null) {
      made = Files.createTempDirectory("laco-parquet");
      folder = made;
    }
    return made;
  }

  private Process process(Path into) throws IOException {
    Process running = process;
    if (running == null || !running.isAlive()) {
      running =
          JavaProcess.of(
                  ParquetServer.class,
                  List.of(
                      Hardwood.class,
                      JsonFactory.class,
                      library("org.xerial.snappy.Snappy"),
                      library("com.github.luben.zstd.Zstd")),
                  // Where the codecs unpack their native libraries.
                  List.of(
                      "-Xmx" + HEAP + "m",
                      "-XX:+ExitOnOutOfMemoryError",
                      "-Djava.io.tmpdir=" + into.toAbsolutePath()),
                  List.of())
              .redirectError(ProcessBuilder.Redirect.DISCARD)
              .start();
      process = running;
    }
    return running;
  }

  /** A class of a codec, which only the other process initialises. */
  private static Class<?> library(String name) {
    try {
      return Class.forName(name, false, ParquetLines.class.getClassLoader());
    } catch (ClassNotFoundException e) {
      throw new IllegalStateException(e);
    }
  }

  private String answer(Process reader, Path parquet) throws IOException {
    DataInputStream in = new DataInputStream(reader.getInputStream());
    long limit = time.plus(TIME_PER_MEGABYTE.multipliedBy(Files.size(parquet) >> 20)).toMillis();
    // Time is counted by polls and not read from a clock, since a process that was stopped was not
    // slow.
    for (long polls = 0; in.available() == 0; polls++) {
      if (!reader.isAlive()) {
        throw ended(parquet, reader.exitValue());
      }
      if (polls * POLL_MILLIS > limit) {
        stop(reader);
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: is damaged: reading it did not end within %.0f s",
                parquet,
                limit / 1e3));
      }
      requireWanted.run();
      sleep();
    }
    return in.readUTF();
  }

  private static RuntimeException ended(Path parquet, int code) {
    return switch (code) {
      case OUT_OF_MEMORY ->
          new BadInputException(
              String.format(
                  Locale.ROOT,
                  "%s: is damaged, or has pages that need more than %d MB of memory; write it again"
                      + " with smaller row groups",
                  parquet,
                  HEAP));
      case KILLED ->
          new ResourceException(
              "the process that read "
                  + parquet
                  + " was killed, by the system if memory ran out; free some memory");
      default ->
          new BadInputException(
              parquet + ": is damaged: the process that read it crashed with exit code " + code);
    };
  }

  private static void sleep() {
    try {
      Thread.sleep(POLL_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CancelledException();
    }
  }

  private static void stop(Process running) {
    running.destroyForcibly();
    try {
      running.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Ends the process and deletes the files. */
  @Override
  public void close() {
    if (process != null) {
      stop(process);
    }
    if (folder != null) {
      try (Stream<Path> files = Files.walk(folder)) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.deleteIfExists(file);
        }
      } catch (IOException e) {
        // Someone has taken away the right to delete files there; the folder stays.
      }
    }
  }
}
