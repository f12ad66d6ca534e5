import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.compare.CompareJob;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.CompareResult;
import dev.laco.compare.Strategy;
import dev.laco.prune.Goal;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;

/**
 * Ways to prune a model to a number of layers, best first by perplexity on the model's own text.
 *
 * <pre>
 * java -cp "cli/target/lib/*" examples/CompareWays.java models/storyteller 12 laco-merge shortgpt last
 * </pre>
 */
public final class CompareWays {
  private CompareWays() {}

  public static void main(String[] arguments) {
    CompareRequest request =
        CompareRequest.of(Goal.layers(Integer.parseInt(arguments[1])))
            .withStrategies(
                Arrays.stream(arguments).skip(2).map(Strategy::named).toList());
    try (Model model = Model.open(Path.of(arguments[0]))) {
      CompareResult result = new CompareJob(model, DeviceSettings.of("cpu"), request).run();
      for (CompareResult.Row row : result.rows()) {
        System.out.printf(
            Locale.ROOT,
            "%-15s perplexity %.2f, the dense model's times %.3f%n",
            row.strategy().label(),
            row.fidelity().perplexity().perplexity(),
            result.ratio(row));
      }
    }
  }
}
