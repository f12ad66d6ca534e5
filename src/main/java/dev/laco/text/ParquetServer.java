package dev.laco.text;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import dev.hardwood.Hardwood;
import dev.hardwood.HardwoodContext;
import dev.hardwood.InputFile;
import dev.hardwood.metadata.ColumnChunk;
import dev.hardwood.metadata.CompressionCodec;
import dev.hardwood.metadata.RowGroup;
import dev.hardwood.reader.ParquetFileReader;
import dev.hardwood.reader.RowGroupPredicate;
import dev.hardwood.reader.RowReader;
import dev.hardwood.row.PqList;
import dev.hardwood.row.PqMap;
import dev.hardwood.row.PqStruct;
import dev.hardwood.row.StructAccessor;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.Writer;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.SynchronousQueue;
import org.jspecify.annotations.Nullable;

/**
 * The program that {@link ParquetLines} starts: it writes the rows of parquet files as objects of
 * JSON, one a line. A fault of the library that reads parquet ends this program alone. The end of
 * standard input ends the program, whatever the library is doing.
 *
 * <p>A request is two texts: the path of a parquet file, and that of the file to write. An answer
 * is a text: what is wrong with the parquet file, or nothing. Texts have the form of {@link
 * DataOutputStream#writeUTF}.
 */
final class ParquetServer {
  private static final Set<CompressionCodec> CODECS =
      Set.of(
          CompressionCodec.UNCOMPRESSED,
          CompressionCodec.SNAPPY,
          CompressionCodec.GZIP,
          CompressionCodec.ZSTD);

  /** Most characters of an answer, each of which has at most three bytes. */
  private static final int MAX_ANSWER = 20_000;

  private record Request(Path source, Path target) {}

  /** A file that cannot be read as it is, with the reason for people. */
  private static final class Refused extends Exception {
    private static final long serialVersionUID = 1L;

    Refused(String reason) {
      super(reason);
    }
  }

  private ParquetServer() {}

  /** Answers requests until standard input ends. */
  public static void main(String[] args) throws IOException, InterruptedException {
    SynchronousQueue<Request> requests = new SynchronousQueue<>();
    Thread reader = new Thread(() -> read(requests), "requests");
    reader.setDaemon(true);
    reader.start();
    DataOutputStream out = new DataOutputStream(new FileOutputStream(FileDescriptor.out));
    while (true) {
      String answer = convert(requests.take());
      out.writeUTF(answer.substring(0, Math.min(answer.length(), MAX_ANSWER)));
      out.flush();
    }
  }

  private static void read(SynchronousQueue<Request> requests) {
    try {
      DataInputStream in = new DataInputStream(new FileInputStream(FileDescriptor.in));
      while (true) {
        requests.put(new Request(Path.of(in.readUTF()), Path.of(in.readUTF())));
      }
    } catch (EOFException e) {
      Runtime.getRuntime().halt(0);
    } catch (IOException | InterruptedException e) {
      System.err.println(e);
      Runtime.getRuntime().halt(1);
    }
  }

  /** Writes the rows of a file. Returns what is wrong with the file. */
  private static String convert(Request request) {
    String where = "";
    try (Hardwood library = Hardwood.create(HardwoodContext.create(1));
        ParquetFileReader file = library.open(InputFile.of(request.source));
        Writer out = Files.newBufferedWriter(request.target);
        JsonGenerator json = new JsonFactory().createGenerator(out)) {
      json.setRootValueSeparator(null);
      List<RowGroup> groups = file.getFileMetaData().rowGroups();
      long first = 0;
      for (int group = 0; group < groups.size(); group++) {
        long rows = groups.get(group).numRows();
        where =
            String.format(
                Locale.ROOT, "row group %d, rows %,d to %,d: ", group + 1, first + 1, first + rows);
        requireKnownCodecs(groups.get(group));
        // Each group by itself, since the library reads ahead and does not say where it failed.
        try (RowReader reader = file.buildRowReader().filter(only(groups, group)).build()) {
          long read = 0;
          for (; read < rows && reader.hasNext(); read++) {
            reader.next();
            putFields(json, reader);
            json.writeRaw('\n');
          }
          if (read < rows || reader.hasNext()) {
            throw new Refused(
                String.format(
                    Locale.ROOT, "%s rows are there", read < rows ? "only " + read : "more"));
          }
        }
        first += rows;
      }
      return "";
    } catch (Refused e) {
      return where + e.getMessage();
    } catch (IOException | RuntimeException | Error e) {
      return where + "cannot be read as parquet: " + reason(e);
    }
  }

  /** The row group alone: its bytes begin where its first column does. */
  private static RowGroupPredicate only(List<RowGroup> groups, int group) {
    return RowGroupPredicate.byteRange(
        begin(groups.get(group)),
        group + 1 < groups.size() ? begin(groups.get(group + 1)) : Long.MAX_VALUE);
  }

  private static long begin(RowGroup group) {
    return group.columns().getFirst().chunkStartOffset();
  }

  private static void requireKnownCodecs(RowGroup group) throws Refused {
    for (ColumnChunk column : group.columns()) {
      CompressionCodec codec = column.metaData().codec();
      if (!CODECS.contains(codec)) {
        throw new Refused(
            "the column "
                + String.join(".", column.metaData().pathInSchema().elements())
                + " is compressed by "
                + codec
                + "; snappy, zstd, gzip and no compression are read: write the file again with one"
                + " of them");
      }
    }
  }

  private static void putFields(JsonGenerator json, StructAccessor fields)
      throws IOException, Refused {
    json.writeStartObject();
    for (int i = 0; i < fields.getFieldCount(); i++) {
      String name = fields.getFieldName(i);
      json.writeFieldName(name);
      put(json, name, fields.getRawValue(i), fields, i);
    }
    json.writeEndObject();
  }

  private static void put(
      JsonGenerator json, String name, @Nullable Object raw, StructAccessor of, int field)
      throws IOException, Refused {
    if (raw instanceof PqMap) {
      throw new Refused("the column " + name + " holds maps, which no task has");
    }
    put(json, name, raw instanceof byte[] ? raw : of.getValue(field));
  }

  private static void put(JsonGenerator json, String name, @Nullable Object value)
      throws IOException, Refused {
    switch (value) {
      case null -> json.writeNull();
      case Boolean truth -> json.writeBoolean(truth);
      case Integer number -> json.writeNumber(number);
      case Long number -> json.writeNumber(number);
      case Float number -> json.writeNumber(number);
      case Double number -> json.writeNumber(number);
      case byte[] utf8 -> json.writeString(text(name, utf8));
      case PqStruct struct -> putFields(json, struct);
      case PqList list -> {
        json.writeStartArray();
        for (int i = 0; i < list.size(); i++) {
          put(json, name, list.getRaw(i));
        }
        json.writeEndArray();
      }
      // Dates, times and decimal numbers, which no task asks for.
      default -> json.writeString(value.toString());
    }
  }

  private static String text(String name, byte[] utf8) throws Refused {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(utf8)).toString();
    } catch (CharacterCodingException e) {
      throw new Refused("the column " + name + " has a text that is not UTF-8");
    }
  }

  /** What the library says, which names the column, and what was the cause. */
  private static String reason(Throwable failure) {
    Throwable cause = failure;
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    String outer = said(failure);
    String inner = said(cause);
    return outer.contains(inner) ? outer : outer + ": " + inner;
  }

  private static String said(Throwable failure) {
    String message = failure.getMessage();
    return message == null
        ? failure.getClass().getSimpleName()
        // The library names the file in front.
        : message.replaceFirst("^\\[[^]]*] ", "");
  }
}
