package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.compare.Strategy;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

/** What helps somebody who does not know the options by heart. */
class HelpTest {
  private static final Path MODEL = Fixtures.model("llama_untied_gqa");

  @TempDir Path folder;

  @Test
  void theHelpOfPruneComesInGroupsWithWhatMattersFirst() {
    String help = Laco.run("prune", "--help").succeeded().out();
    List<String> headings =
        Pattern.compile("(?m)^([A-Z][a-z ]+):$")
            .matcher(help)
            .results()
            .map(m -> m.group(1))
            .toList();
    assertEquals(
        List.of(
            "What",
            "How far",
            "How long",
            "By which rule",
            "Search",
            "Fit",
            "Heal",
            "Measure",
            "Output",
            "Device",
            "Help",
            "Example"),
        headings);
    assertTrue(help.startsWith("Usage: laco prune MODEL OUT [OPTIONS]"), help);
    assertTrue(help.lines().allMatch(line -> line.length() <= 80), help);
  }

  @Test
  void theGroupHelpHasNoOptionOfACommand() {
    for (String command : new CommandLine(new LacoCommand()).getSubcommands().keySet()) {
      if (command.equals("help")) {
        continue;
      }
      String help = Laco.run(command, "--help").succeeded().out();
      int group = help.indexOf("\nHelp:\n");
      String options = help.substring(group).replaceAll("(?s)\\n\\n.*", "");
      assertEquals(
          List.of("-h, --help", "-V, --version"),
          Pattern.compile("(?m)^ +(-\\w, --\\w+|--[\\w-]+)")
              .matcher(options)
              .results()
              .map(m -> m.group(1))
              .toList(),
          help);
    }
  }

  @Test
  void whatAnOptionHasTakenForItselfIsToBeNamedBeforeIt() {
    for (String option : List.of("--against", "--last-word")) {
      ProgramRun run = Laco.run("eval", option, MODEL);
      assertEquals(2, run.code());
      assertTrue(run.err().contains("'MODEL': name it before " + option), run.err());
    }
    assertTrue(Laco.run("eval").err().contains("'MODEL';"), Laco.run("eval").err());
  }

  @Test
  void everyRuleIsListedWithWhatItDoesAndCosts() {
    String help = Laco.run("prune", "--help").succeeded().out();
    Stream<String> rules =
        Stream.concat(
            Stream.concat(
                Stream.of(MergeRule.AUTO), MergeRule.all().stream().map(MergeRule::label)),
            FitRule.presets().stream().map(FitRule::label));
    rules.forEach(
        rule -> assertTrue(help.matches("(?s).*\\R  " + rule + " +\\+{0,4} +\\w.*"), rule));
    ProgramRun unknown = Laco.run("prune", MODEL, "--dry-run", "--rule", "average");
    FitRule.presets()
        .forEach(rule -> assertTrue(unknown.err().contains(rule.label()), unknown.err()));
  }

  @Test
  void everyStrategyIsListed() {
    String help = Laco.run("compare", "--help").succeeded().out().replaceAll("\\s+", " ");
    String all = String.join(", ", Strategy.presets().stream().map(Strategy::label).toList());
    assertTrue(help.contains("of " + all + "."), help);
  }

  @Test
  void lacoAloneAndTheHelpCommandPrintWhatTheOptionDoes() {
    String help = Laco.run("--help").succeeded().out();
    assertEquals(help, Laco.run().succeeded().out());
    assertEquals(help, Laco.run("help").succeeded().out());
    assertEquals(
        Laco.run("prune", "--help").succeeded().out(), Laco.run("help", "prune").succeeded().out());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      textBlock =
          """
      prun m o                         | unknown command 'prun': did you mean prune?
      shrink m o                       | unknown command 'shrink';
      prune m o --target-layer=6       | unknown option --target-layer: did you mean --target-layers?
      prune m o --targetratio 0.5      | unknown option --targetratio: did you mean --target-ratio?
      eval m --txt f                   | unknown option --txt: did you mean --text?
      prune m o --colour               | unknown option --colour;
      prune m o p                      | 'p' is one argument too many;
      help prun                        | prun
      prune --hepl                     | unknown option --hepl: did you mean --help?
      prune --target-layer=6           | unknown option --target-layer: did you mean --target-layers?
      apply plan.json --overwirte      | unknown option --overwirte: did you mean --overwrite?
      generate m --promt x             | unknown option --promt: did you mean --prompt?
      generate m x                     | Missing required option: '--prompt=TEXT'
      prune --quiet                    | Missing required parameter: 'MODEL'
      """)
  void whatIsMistypedIsAnsweredWithWhatWasMeant(String command, String message) {
    ProgramRun run = Laco.run((Object[]) command.split(" +"));
    assertEquals(2, run.code());
    assertTrue(run.err().contains(message), run.err());
    assertEquals(1, run.err().lines().count(), run.err());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "bash", "zsh"})
  void theScriptOfCompletionCompletes(String shell) throws IOException {
    Object[] arguments =
        shell.isEmpty() ? new Object[] {"completion"} : new Object[] {"completion", shell};
    // In a process of its own: picocli takes the digits of the script from the process's locale.
    ProgramRun script = ProgramRun.of(ProgramRun.java(Main.class, arguments).start());
    Path file = TestFiles.write(folder.resolve("laco.bash"), script.succeeded().out());
    assertEquals("prune\n", completed(file, "pr"));
    String options = completed(file, "prune", "--target-");
    assertEquals(
        List.of("--target-bytes", "--target-layers", "--target-ratio"),
        options.lines().sorted().toList());
    assertTrue(completed(file, "prune", "--rule", "re").lines().toList().contains("refine"));
    assertTrue(
        completed(file, "compare", "--strategies", "paper-")
            .lines()
            .toList()
            .contains("paper-rdsc"));
  }

  private static String completed(Path script, String... words) throws IOException {
    String line = "laco " + String.join(" ", words);
    Process bash =
        new ProcessBuilder(
                "bash",
                "-c",
                String.format(
                    Locale.ROOT,
                    "source '%s'; COMP_WORDS=(%s); COMP_CWORD=%d; _complete_laco; printf '%%s\\n' \"${COMPREPLY[@]}\"",
                    script,
                    line,
                    words.length))
            .start();
    return ProgramRun.of(bash).succeeded().out();
  }

  @ParameterizedTest
  @CsvSource({"0.25, 6", "25%, 6", "12.5%, 7", "62.5 %, 0", "0%, 8"})
  void aRatioMayBeAPercentage(String ratio, int layers) {
    ProgramRun run =
        Laco.run(
            "prune",
            MODEL,
            "--dry-run",
            "--json",
            "--search",
            "greedy",
            "--rule",
            "drop",
            "--target-ratio",
            ratio,
            "--calibration",
            Fixtures.tokens(folder, "llama_untied_gqa", "calib"));
    if (layers == 0) {
      assertEquals(2, run.code());
      assertTrue(run.err().contains("not a decimal number or a percentage"), run.err());
    } else {
      assertEquals(layers, run.succeeded().json().get("layersOut").intValue());
    }
  }

  @Test
  void aModelOfTheHubIsFoundInItsCacheOrTheErrorSaysHowToGetIt() throws IOException {
    Path repository = folder.resolve("hub/models--some-org--a.model");
    Path snapshot = Files.createDirectories(repository.resolve("snapshots/0123abcd"));
    for (String name : TestFiles.names(MODEL)) {
      Files.copy(MODEL.resolve(name), snapshot.resolve(name));
    }
    TestFiles.write(
        Files.createDirectories(repository.resolve("refs")).resolve("main"), "0123abcd");
    Path plan = folder.resolve("plan.json");
    Path calibration = Fixtures.tokens(folder, "llama_untied_gqa", "calib");
    Laco.run(
            "prune",
            MODEL,
            "--dry-run",
            "--rule",
            "drop",
            "--plan",
            plan,
            "--calibration",
            calibration)
        .succeeded();
    String given = "some-org/a.model";
    ProgramRun inspected =
        inHub("HF_HUB_CACHE", folder.resolve("hub"), "inspect", given).succeeded();
    assertTrue(inspected.out().contains("supported     true"), inspected.out());
    Path out = folder.resolve("out");
    inHub("HF_HOME", folder, "apply", plan, given, out).succeeded();
    assertEquals(6, Fixtures.read(out.resolve("config.json")).get("num_hidden_layers").intValue());
    ProgramRun missing = inHub("HF_HOME", folder, "eval", "some-org/other");
    assertEquals(3, missing.code());
    assertTrue(
        missing.err().matches("laco: some-org/other: .*hf download some-org/other\\R"),
        missing.err());
    assertTrue(missing.err().contains(folder.resolve("hub").toString()), missing.err());
  }

  private static ProgramRun inHub(String variable, Path value, Object... arguments)
      throws IOException {
    ProcessBuilder process = ProgramRun.java(Main.class, arguments);
    Map<String, String> environment = process.environment();
    List.of("HF_HUB_CACHE", "HF_HOME").forEach(environment::remove);
    environment.put(variable, value.toString());
    return ProgramRun.of(process.start());
  }

  @Test
  void quietPrintsTheResultsAndNothingElse() {
    Path calibration = Fixtures.tokens(folder, "llama_untied_gqa", "calib");
    Path out = folder.resolve("out");
    Object[] prune = {"prune", MODEL, out, "-q", "--rule", "drop", "--calibration", calibration};
    ProgramRun run = Laco.run(prune).succeeded();
    assertEquals("", run.err());
    assertEquals(
        List.of("result", "layers", "perplexity", "wrote", "plan", "report", "page"),
        labels(run.out()));
    ProgramRun apply =
        Laco.run("apply", out.resolve("laco_plan.json"), MODEL, folder.resolve("again"), "--quiet");
    assertEquals(List.of("wrote"), labels(apply.succeeded().out()));
  }

  private static List<String> labels(String out) {
    List<String> labels = new ArrayList<>();
    out.lines().forEach(line -> labels.add(line.replaceFirst(" .*", "")));
    return labels;
  }
}
