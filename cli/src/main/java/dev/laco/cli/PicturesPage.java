package dev.laco.cli;

import dev.laco.JobProgress;
import dev.laco.LacoVersion;
import dev.laco.Request;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The page of a measurement that is pictures and tables.
 *
 * @param title the page's title
 * @param made how the measurement was made
 * @param says what was found, a paragraph each
 * @param facts the numbers that matter most; may be empty
 * @param next what to do with the result
 * @param pictures in the order in which they are shown
 * @param tables in the order in which they are shown
 * @param files where all numbers are
 */
record PicturesPage(
    String title,
    Made made,
    List<String> says,
    List<Fact> facts,
    Next next,
    List<Picture> pictures,
    List<Table> tables,
    String files) {
  /** With what a cell of numbers begins. */
  private static final String NUMBERS = "0123456789+-x";

  /** Template sections of a part that is left out. */
  private static final boolean NONE = false;

  /** A number that matters, as text. */
  record Fact(String name, String value) {}

  /** What to do, and the command that does it. */
  record Next(String what, String command) {}

  /**
   * How a measurement was made.
   *
   * @param device the device's name, and the type of its products
   * @param seconds that the command took
   * @param command its arguments
   * @param request what was asked for, as JSON
   * @param warnings what the user was warned of
   */
  record Made(
      String device, double seconds, List<String> command, String request, List<String> warnings) {
    /** How the command that is about to end made it. */
    static Made by(OutputOptions output, Console console, Request request) {
      return new Made(
          console.device(),
          console.job().seconds(),
          output.arguments(),
          request.toJson().toPrettyString(),
          console.warnings());
    }
  }

  /**
   * A picture.
   *
   * @param title what is shown
   * @param svg the SVG document
   * @param caption how to read it
   */
  record Picture(String title, String svg, String caption) {
    /** The picture as templates name its parts. */
    Map<String, Object> values() {
      return Map.of("title", title, "svg", svg, "caption", caption);
    }
  }

  /**
   * A table.
   *
   * @param title what it shows
   * @param columns names of the columns
   * @param rows its rows, a cell for each column; columns of numbers are aligned to the right
   */
  record Table(String title, List<String> columns, List<List<String>> rows) {
    private Map<String, Object> values() {
      List<Boolean> numbers =
          IntStream.range(0, columns.size())
              .mapToObj(i -> rows.stream().allMatch(row -> isNumber(row.get(i))))
              .toList();
      return Map.of(
          "title",
          title,
          "columns",
          cells(columns, numbers),
          "rows",
          rows.stream().map(row -> Map.of("cells", cells(row, numbers))).toList());
    }

    private static List<Map<String, Object>> cells(List<String> texts, List<Boolean> numbers) {
      return IntStream.range(0, texts.size())
          .mapToObj(i -> Map.<String, Object>of("number", numbers.get(i), "text", texts.get(i)))
          .toList();
    }

    private static boolean isNumber(String cell) {
      return cell.isEmpty() || NUMBERS.indexOf(cell.charAt(0)) >= 0;
    }
  }

  /** The page as HTML. */
  String html() {
    Map<String, Object> values = new HashMap<>();
    values.put("title", title);
    values.put(
        "made",
        "Made by laco "
            + LacoVersion.number()
            + " on "
            + Instant.now().truncatedTo(ChronoUnit.SECONDS)
            + ", in "
            + JobProgress.exactly(made.seconds)
            + (made.device.isEmpty() ? "." : ", on " + made.device + "."));
    values.put("says", says);
    values.put(
        "facts",
        facts.isEmpty()
            ? NONE
            : Map.of(
                "all",
                facts.stream()
                    .map(fact -> Map.of("name", fact.name, "value", fact.value))
                    .toList()));
    values.put("warnings", made.warnings);
    values.put("next", Map.of("what", next.what, "command", next.command));
    values.put("pictures", pictures.stream().map(Picture::values).toList());
    values.put("tables", tables.stream().map(Table::values).toList());
    values.put(
        "command",
        "laco " + made.command.stream().map(Shell::quoted).collect(Collectors.joining(" ")));
    values.put("request", made.request);
    values.put("files", files);
    return Page.of("pictures", title, values);
  }
}
