import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.cli.Main;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.Locale;

/**
 * Runs command lines of laco in one process, since starting a JVM costs more than most commands.
 *
 * <p>Each line of standard input is a JSON array of arguments. The answer is a line of standard
 * output: a JSON object with the exit code ({@code code}) and what the command printed ({@code
 * out}, {@code err}).
 */
void main() throws Exception {
  Locale.setDefault(Locale.ROOT);
  ObjectMapper json = new ObjectMapper();
  PrintWriter answers = new PrintWriter(System.out, true, StandardCharsets.UTF_8);
  BufferedReader commands =
      new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
  for (String line = commands.readLine(); line != null; line = commands.readLine()) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    int code =
        Main.run(new PrintWriter(out), new PrintWriter(err), json.readValue(line, String[].class));
    answers.println(
        json.writeValueAsString(
            json.createObjectNode()
                .put("code", code)
                .put("out", out.toString())
                .put("err", err.toString())));
  }
}
