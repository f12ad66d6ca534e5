package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.samskivert.mustache.Mustache;
import dev.laco.UsageException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;

/**
 * An HTML page of what a job did, which needs neither a network nor a script: a template (Mustache,
 * in the resources) with values, in the frame and the style that all pages have.
 */
final class Page {
  private static final Mustache.Compiler TEMPLATES = Mustache.compiler().strictSections(true);

  /** What tells a page of laco's from other files, within its first bytes. */
  private static final String GENERATOR = "<meta name=\"generator\" content=\"laco\">";

  private static final int HEAD = 512;

  private Page() {}

  /**
   * The page.
   *
   * @param template the name of the template
   * @param title the page's title
   * @param values what the template names; every text is escaped where the template does not ask
   *     for markup
   */
  static String of(String template, String title, Map<String, Object> values) {
    String body = TEMPLATES.compile(resource(template + ".mustache")).execute(values);
    return TEMPLATES
        .compile(resource("page.mustache"))
        .execute(Map.of("title", title, "style", resource("page.css"), "body", body));
  }

  /**
   * Checks that a page may be written where {@code path} says: nothing is there, or an empty file,
   * or an earlier page.
   *
   * @param option names it in errors
   * @param instead what a user can do in the other case
   * @throws UsageException that says what is there
   */
  static void requireReplaceable(String option, Path path, String instead) throws IOException {
    if (!Files.isRegularFile(path)) {
      return;
    }
    try (InputStream in = Files.newInputStream(path)) {
      String head = new String(in.readNBytes(HEAD), UTF_8);
      if (!head.isEmpty() && !head.contains(GENERATOR)) {
        throw new UsageException(
            String.format(
                Locale.ROOT,
                "%s %s: is there and is no page of laco's; %s",
                option,
                path,
                instead));
      }
    }
  }

  private static String resource(String name) {
    try (InputStream in = Page.class.getResourceAsStream("page/" + name)) {
      if (in == null) {
        throw new IllegalStateException("no resource page/" + name);
      }
      return new String(in.readAllBytes(), UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
