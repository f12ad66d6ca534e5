package dev.laco.evaluate;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.InputJson;
import dev.laco.text.LineFile;
import dev.laco.text.LineIndex;
import dev.laco.text.LineReader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.function.LongPredicate;
import org.jspecify.annotations.Nullable;

/**
 * Files of documents: objects of JSON, one a line, or rows of a table ({@code .csv}).
 *
 * @param source names the files for people
 * @param files one or several files, which are read one after the other; of a table one
 * @param labels a file with the right answer of each document of the one file, one a line; null
 *     where the documents have it
 */
record Documents(String source, List<LineFile> files, @Nullable Path labels) implements Items {
  private static final String LABEL = "label";
  private static final char QUOTE = '"';

  /** The columns of tables without a line of names, which are those of MMLU. */
  private static final List<String> COLUMNS = List.of("question", "A", "B", "C", "D", "answer");

  /** The first name in the line of names of CMMLU, whose first column has none. */
  private static final String NAMES = ",Question";

  /** What the name of a file of samples that lm-evaluation-harness has exported begins with. */
  static final String EXPORT = "samples_";

  /** Whether a file of a name has samples, which have the items in a field. */
  static boolean isExport(String name) {
    return name.startsWith(EXPORT);
  }

  private boolean isTable() {
    return source.toLowerCase(Locale.ROOT).endsWith(".csv");
  }

  /**
   * Reads the documents one by one; none is kept.
   *
   * @throws BadInputException that names file and line, if one of the documents that are given is
   *     none, or there are no documents, or not as many labels as documents
   */
  @Override
  public long read(long limit, LongPredicate wanted, Consumer<Document> each) {
    long count = 0;
    for (LineFile file : files) {
      long before = count;
      LongPredicate given = number -> before + number < limit && wanted.test(before + number);
      count +=
          isTable()
              ? readTable(file, given, each)
              : isExport(file.file().getFileName().toString())
                  ? readExport(file, given, each)
                  : readLines(file, given, each);
    }
    if (count == 0) {
      throw new BadInputException(source + ": holds no items");
    }
    return count;
  }

  @Override
  public long count() {
    return files.stream().mapToLong(LineFile::count).sum();
  }

  private long readLines(LineFile file, LongPredicate wanted, Consumer<Document> each) {
    try (LineReader lines = new LineReader(file);
        LineReader answers = labels == null ? null : new LineReader(LineFile.of(labels))) {
      long count = 0;
      for (String line = lines.next(); line != null; line = lines.next()) {
        String label = answers == null ? null : answers.next();
        if (answers != null && label == null) {
          throw new BadInputException(
              lines.where() + " has no label: " + labels + " has fewer lines");
        }
        if (wanted.test(count)) {
          each.accept(document(lines.where(), line, label));
        }
        count++;
      }
      if (answers != null && answers.next() != null) {
        throw new BadInputException(
            answers.where() + " is the label of no item: " + source + " has fewer lines");
      }
      return count;
    }
  }

  /** Tasks with several filters have a sample of each item for each of them. */
  private static long readExport(LineFile file, LongPredicate wanted, Consumer<Document> each) {
    try (LineReader lines = new LineReader(file)) {
      JsonNode filter = null;
      long count = 0;
      for (String line = lines.next(); line != null; line = lines.next()) {
        Document sample = document(lines.where(), line, null);
        JsonNode own = sample.json().path("filter");
        filter = filter == null ? own : filter;
        if (own.equals(filter)) {
          Document item = sample.object("doc");
          if (wanted.test(count)) {
            each.accept(item);
          }
          count++;
        }
      }
      return count;
    }
  }

  private static long readTable(LineFile file, LongPredicate wanted, Consumer<Document> each) {
    try (LineReader lines = new LineReader(file)) {
      List<String> columns = COLUMNS;
      long count = 0;
      for (String line = lines.next(); line != null; line = lines.next()) {
        String where = lines.where();
        if (count == 0 && line.startsWith(NAMES)) {
          columns = cells(line);
          continue;
        }
        StringBuilder row = new StringBuilder(line);
        for (boolean quoted = endsInQuotes(line, false); quoted; ) {
          String more = lines.line();
          if (more == null) {
            throw new BadInputException(where + " has a quote that does not end");
          }
          quoted = endsInQuotes(more, quoted);
          row.append('\n').append(more);
          if (row.length() > LineReader.MAX_LINE) {
            throw LineReader.tooLong(where);
          }
        }
        if (wanted.test(count)) {
          each.accept(row(where, columns, cells(row.toString())));
        }
        count++;
      }
      return count;
    }
  }

  /** Whether a quote that began in a line or before it goes on behind the line. */
  private static boolean endsInQuotes(String line, boolean quoted) {
    return (line.chars().filter(c -> c == QUOTE).count() % 2 != 0) != quoted;
  }

  private static Document row(String where, List<String> columns, List<String> cells) {
    if (cells.size() != columns.size()) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s has %d cells, expected %d: %s",
              where,
              cells.size(),
              columns.size(),
              String.join(", ", columns)));
    }
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    for (int i = 0; i < cells.size(); i++) {
      json.put(columns.get(i), cells.get(i));
    }
    return new Document(where, json);
  }

  /** The cells of a row of RFC 4180. */
  private static List<String> cells(String row) {
    List<String> cells = new ArrayList<>();
    StringBuilder cell = new StringBuilder();
    boolean quoted = false;
    for (int i = 0; i < row.length(); i++) {
      char c = row.charAt(i);
      if (c == QUOTE && quoted && i + 1 < row.length() && row.charAt(i + 1) == QUOTE) {
        cell.append(QUOTE);
        i++;
      } else if (c == QUOTE && (quoted || cell.isEmpty())) {
        quoted = !quoted;
      } else if (c == ',' && !quoted) {
        cells.add(cell.toString());
        cell.setLength(0);
      } else {
        cell.append(c);
      }
    }
    cells.add(cell.toString());
    return cells;
  }

  private static Document document(String where, String line, @Nullable String label) {
    Document document = Document.of(where, InputJson.parse(where, line));
    if (label != null) {
      document.json().put(LABEL, label.strip());
    }
    return document;
  }

  /** The documents of files of JSON for reading in any order. */
  Shelf shelf() {
    return new Shelf(this);
  }

  /** Documents that are read in any order. */
  static final class Shelf {
    private final List<LineIndex> files;
    private final @Nullable LineIndex answers;

    private Shelf(Documents documents) {
      files = documents.files.stream().map(LineIndex::new).toList();
      answers = documents.labels == null ? null : new LineIndex(LineFile.of(documents.labels));
      if (answers != null && answers.count() != count()) {
        throw new BadInputException(
            String.format(
                Locale.ROOT,
                "%s: has %,d labels for the %,d items of %s",
                documents.labels,
                answers.count(),
                count(),
                documents.source));
      }
    }

    int count() {
      return files.stream().mapToInt(LineIndex::count).sum();
    }

    Document document(int number) {
      String label = answers == null ? null : answers.line(number);
      int line = number;
      int file = 0;
      while (line >= files.get(file).count()) {
        line -= files.get(file++).count();
      }
      LineIndex lines = files.get(file);
      return Documents.document(lines.where(line), lines.line(line), label);
    }
  }
}
