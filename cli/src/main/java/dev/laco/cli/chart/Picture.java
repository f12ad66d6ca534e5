package dev.laco.cli.chart;

import java.util.Locale;

/**
 * An SVG document that is being drawn: a title, a description for those who do not see it, and
 * colours that follow the reader's light or dark mode.
 */
final class Picture {
  private static final String STYLE =
      """
      <style>
        svg { background: #fff; color: #1b1f24; font: 12px system-ui, "DejaVu Sans", sans-serif }
        text { fill: currentColor }
        .title { font-size: 15px; font-weight: 600 }
        .tick { font-size: 11px }
        .axis { stroke: currentColor; stroke-opacity: .6; fill: none }
        .grid { stroke: currentColor; stroke-opacity: .15; fill: none }
        .line { fill: none; stroke-width: 2 }
        .none { fill: currentColor; fill-opacity: .08 }
        .left { fill: currentColor; fill-opacity: .3 }
        .hollow { fill: none; stroke: currentColor; stroke-width: 1.5 }
        .marked { fill: none; stroke: #d55e00; stroke-width: 2.5 }
        .layer { fill: #0072b2; fill-opacity: .22; stroke: #0072b2 }
        .layer.fitted { fill: #d55e00; fill-opacity: .35; stroke: #d55e00; stroke-width: 2 }
        .layer.trained { fill: #009e73; fill-opacity: .3; stroke: #009e73; stroke-width: 2 }
        .layer.fitted-and-trained { fill: #d55e00; fill-opacity: .35; stroke: #009e73; stroke-width: 2.5 }
        .layer.gone { fill: none; stroke: currentColor; stroke-opacity: .5; stroke-dasharray: 3 3 }
        @media (prefers-color-scheme: dark) { svg { background: #14171a; color: #e6e9ec } }
      </style>
      """;

  private final StringBuilder body = new StringBuilder();

  Picture(double width, double height, String title, String description) {
    body.append(
        String.format(
            Locale.ROOT,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\""
                + " height=\"%.0f\" role=\"img\">%n",
            width,
            height,
            width,
            height));
    body.append("<title>").append(escaped(title)).append("</title>\n");
    body.append("<desc>").append(escaped(description)).append("</desc>\n");
    body.append(STYLE);
    text(16, 24, "title", "start", title);
  }

  /** A text whose anchor is {@code start}, {@code middle} or {@code end}. */
  Picture text(double x, double y, String style, String anchor, String text) {
    return add(
        "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">%s</text>",
        x, y, style, anchor, escaped(text));
  }

  /** A text that is read upwards. */
  Picture upwards(double x, double y, String text) {
    return add(
        "<text transform=\"translate(%.1f %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>",
        x, y, escaped(text));
  }

  /** A piece of SVG. */
  Picture add(String format, Object... values) {
    body.append(String.format(Locale.ROOT, format, values)).append('\n');
    return this;
  }

  /** The whole document. */
  String svg() {
    return body + "</svg>\n";
  }

  static String escaped(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("\"", "&quot;");
  }

  /** A number in four digits, or a large one without a fraction and with its thousands apart. */
  static String number(double value) {
    if (value != 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e9)) {
      return String.format(Locale.ROOT, "%.1e", value);
    }
    if (Math.abs(value) >= 1e4) {
      return String.format(Locale.ROOT, "%,.0f", value);
    }
    int leading = value == 0 ? 0 : (int) Math.floor(Math.log10(Math.abs(value)));
    int decimals = leading > 0 ? 1 : 2 - Math.min(-1, leading);
    String text = String.format(Locale.ROOT, "%." + decimals + "f", value);
    return text.replaceAll("0+$", "").replaceAll("\\.$", "");
  }
}
