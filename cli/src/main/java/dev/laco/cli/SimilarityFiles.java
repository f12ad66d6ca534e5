package dev.laco.cli;

import dev.laco.Model;
import dev.laco.analysis.LayerMatrix;
import dev.laco.analysis.SimilarityJson;
import dev.laco.analysis.SimilarityResult;
import dev.laco.analysis.SimilarityResult.Span;
import dev.laco.analysis.SimilarityResult.States;
import dev.laco.analysis.SimilarityResult.Update;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Stream;

/**
 * The files of {@code --out}: the JSON of a similarity, and the same numbers as tables and
 * pictures. A cell of a number that is not finite is empty.
 */
record SimilarityFiles(
    Path folder,
    SideFiles.SideFile json,
    SideFiles.SideFile layers,
    SideFiles.SideFile pairs,
    SideFiles.SideFile spans,
    SideFiles files) {
  /** The page's name in the folder, where no other place is named. */
  static final String PAGE = "similarity.html";

  /**
   * Plans the files; nothing is written yet.
   *
   * @throws dev.laco.UsageException if the folder is not empty and not that of an earlier run
   */
  static SimilarityFiles add(SideFiles files, Path folder) throws IOException {
    OwnJson.SIMILARITY.requireOwnFolder("--out", folder.resolve("similarity.json"));
    return new SimilarityFiles(
        folder,
        files.add("--out", folder.resolve("similarity.json")),
        files.add("--out", folder.resolve("layers.csv")),
        files.add("--out", folder.resolve("pairs.csv")),
        files.add("--out", folder.resolve("spans.csv")),
        files);
  }

  /**
   * Writes the files, not yet under their names.
   *
   * @param pictures by the names of their files
   */
  void write(SimilarityResult result, SequencedMap<String, PicturesPage.Picture> pictures)
      throws IOException {
    json.write(SimilarityJson.of(result).toPrettyString() + "\n");
    if (result.states() != null) {
      layers.write(layers(result.states()));
    }
    pairs.write(pairs(result));
    if (result.removals() != null) {
      spans.write(spans(result.removals()));
    }
    for (Map.Entry<String, PicturesPage.Picture> picture : pictures.entrySet()) {
      files.add("--out", folder.resolve(picture.getKey())).write(picture.getValue().svg());
    }
  }

  /**
   * Gives the files their names. Those of an earlier run go that this one does not write: a reader
   * takes all files of the folder for those of one model.
   */
  void publish() throws IOException {
    files.deleteUnwritten(
        Stream.concat(
                Stream.of("layers.csv", "pairs.csv", "spans.csv", PAGE),
                SimilarityPictures.NAMES.stream())
            .map(folder::resolve)
            .toList());
    files.publish();
  }

  /**
   * The same as a page.
   *
   * @param next the command that prunes accordingly
   * @param made how the layers were measured
   */
  static PicturesPage page(
      SimilarityResult result,
      String next,
      PicturesPage.Made made,
      Collection<PicturesPage.Picture> pictures) {
    List<String> says = new ArrayList<>();
    says.add(
        String.format(
            Locale.ROOT,
            "How alike the %d layers are, and what their removal costs%s.",
            result.layers(),
            result.text() == null ? "" : ", on " + result.text()));
    if (result.removals() != null) {
      says.add(SimilarityLines.cheapest(result.removals()));
    }
    return new PicturesPage(
        Model.name(result.model()) + ": layers beside each other",
        made,
        says,
        List.of(),
        new PicturesPage.Next("Prune as many layers as cost little:", next),
        List.copyOf(pictures),
        List.of(
            new PicturesPage.Table(
                "The numbers", SimilarityLines.columns(result), SimilarityLines.rows(result))),
        "The same numbers in full: the same command with --json, or --out FOLDER for tables"
            + " (csv).");
  }

  private static String layers(States states) {
    StringBuilder csv =
        new StringBuilder("layer,block_influence,attention,feed_forward,attention_share,norm_in\n");
    for (int layer = 0; layer < states.updates().size(); layer++) {
      Update update = states.updates().get(layer);
      csv.append(layer);
      cell(csv, update.blockInfluence());
      cell(csv, update.attention());
      cell(csv, update.feedForward());
      cell(csv, update.attentionShare());
      cell(csv, states.norms().get(layer));
      csv.append('\n');
    }
    return csv.toString();
  }

  /** Matrices of layers and of states, one pair a line. */
  private static String pairs(SimilarityResult result) {
    StringBuilder csv = new StringBuilder("of,measure,row,column,value\n");
    result
        .parameters()
        .forEach(
            (role, found) -> {
              pairs(csv, role + ",cosine", found.cosine());
              pairs(csv, role + ",distance", found.distance());
            });
    States states = result.states();
    if (states != null) {
      pairs(csv, "states,cosine", states.cosine());
      pairs(csv, "states,flattened", states.flattened());
      pairs(csv, "states,angular", states.angular());
      pairs(csv, "states,cka", states.cka());
    }
    return csv.toString();
  }

  private static void pairs(StringBuilder csv, String what, LayerMatrix matrix) {
    for (int row = 0; row < matrix.size(); row++) {
      for (int column = 0; column < matrix.size(); column++) {
        csv.append(what).append(',').append(row).append(',').append(column);
        cell(csv, matrix.get(row, column));
        csv.append('\n');
      }
    }
  }

  private static String spans(SimilarityResult.Removals removals) {
    StringBuilder csv = new StringBuilder("first,last,nll,nll_more,kl,similarity\n");
    for (Span span : removals.spans()) {
      csv.append(span.first()).append(',').append(span.last());
      cell(csv, span.nll());
      cell(csv, span.nll() - removals.nll());
      cell(csv, span.kl());
      cell(csv, span.similarity());
      csv.append('\n');
    }
    return csv.toString();
  }

  private static void cell(StringBuilder csv, double value) {
    csv.append(',');
    if (Double.isFinite(value)) {
      csv.append(String.format(Locale.ROOT, "%.9g", value));
    }
  }
}
