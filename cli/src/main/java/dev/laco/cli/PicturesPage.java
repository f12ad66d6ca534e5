package dev.laco.cli;

import dev.laco.LacoVersion;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The page of a measurement that is a table and pictures.
 *
 * @param title the page's title
 * @param says what was found, a paragraph each
 * @param warnings what the user was warned of
 * @param nextStep what to do with it
 * @param nextCommand the command that does it
 * @param pictures in the order in which they are shown
 * @param columns names of the columns of the table
 * @param rows its rows
 * @param files names of the files with all numbers
 */
record PicturesPage(
    String title,
    List<String> says,
    List<String> warnings,
    String nextStep,
    String nextCommand,
    List<Picture> pictures,
    List<String> columns,
    List<List<String>> rows,
    String files) {
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

  /** The page as HTML. */
  String html() {
    Map<String, Object> values = new HashMap<>();
    values.put("title", title);
    values.put("made", "Made by laco " + LacoVersion.number() + ".");
    values.put("says", says);
    values.put("warnings", warnings);
    values.put("next", Map.of("what", nextStep, "command", nextCommand));
    values.put("pictures", pictures.stream().map(Picture::values).toList());
    values.put("columns", columns);
    values.put("rows", rows.stream().map(cells -> Map.of("cells", cells)).toList());
    values.put("files", files);
    return Page.of("pictures", title, values);
  }
}
