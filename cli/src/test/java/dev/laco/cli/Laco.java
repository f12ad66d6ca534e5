package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.ProgramRun;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.List;

/** The command line in this process, used as a user does. */
public final class Laco {
  private Laco() {}

  /** Runs a command in this process. */
  public static ProgramRun run(Object... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    PrintWriter outWriter = new PrintWriter(out);
    PrintWriter errWriter = new PrintWriter(err);
    String[] words = Arrays.stream(arguments).map(Object::toString).toArray(String[]::new);
    int code = Main.run(outWriter, errWriter, words);
    outWriter.flush();
    errWriter.flush();
    return new ProgramRun(code, out.toString(), err.toString());
  }

  /** A report without what differs from run to run. */
  public static JsonNode withoutTimings(JsonNode report) {
    ObjectNode copy = report.deepCopy();
    copy.remove(List.of("date", "command", "timings"));
    if (copy.get("fit") instanceof ObjectNode fit) {
      fit.remove(List.of("choiceSeconds", "fitSeconds"));
    }
    return copy;
  }

  /** A report without what differs between runs with more and with less memory. */
  public static String decisions(JsonNode report) {
    ObjectNode copy = (ObjectNode) withoutTimings(report);
    return copy.without("memory").toString();
  }
}
