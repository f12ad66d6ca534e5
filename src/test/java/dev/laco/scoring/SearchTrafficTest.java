package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.ToIntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/**
 * How many layers a GPU reads and writes in the search of Llama-2-7B with the published settings:
 * the numbers of the tables in docs/benchmarks.md ("What a search reads"). They are counted from
 * the plans that the loop asks for.
 */
class SearchTrafficTest {
  private static final Path TABLES = Path.of("docs/benchmarks.md");
  private static final int LAYERS = 32;
  private static final double LAYER_BYTES = 202_383_360 * 2.0;
  private static final int TOKENS = 87;

  /** Of an H100 on those tokens, as {@link PassCost} gives it. */
  private static final double PASS_COST = 200.0 / TOKENS;

  /** Rows up to which {@code collapse_product} mixes while it multiplies. */
  private static final int FUSED_ROWS = 128;

  /** Layers that one launch of {@code mix} makes in one reading of their sources. */
  private static final int OUTS_AT_ONCE = 4;

  /** What a stream of reads of an H100 is taken to bring. */
  private static final double BYTES_PER_SECOND = 3e12;

  /**
   * A layer that a pass runs.
   *
   * @param candidates that run it
   * @param wanted whether it is one of the accepted plan
   * @param known whether an earlier pass ran it, too, after the plan was accepted
   */
  private record Run(LayerMix layer, int candidates, boolean wanted, boolean known) {
    boolean isMixed() {
      return layer.sources() > 1;
    }

    boolean isFused(int fusedRows) {
      return candidates * TOKENS <= fusedRows;
    }
  }

  /** The layers that each pass runs, of which the original's first ones are left out. */
  private static final class Passes implements Scorer {
    private final Set<CollapsePlan> kept;
    private final List<List<Run>> all = new ArrayList<>();
    private Set<LayerMix> accepted = Set.of();
    private final Set<LayerMix> stored = new HashSet<>();

    Passes(Set<CollapsePlan> kept) {
      this.kept = kept;
    }

    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      Map<LayerMix, Integer> candidates = new LinkedHashMap<>();
      for (CollapsePlan plan : plans) {
        plan.layers()
            .subList(plan.sharedPrefix(), plan.depth())
            .forEach(layer -> candidates.merge(layer, 1, Integer::sum));
      }
      List<Run> pass = new ArrayList<>();
      candidates.forEach(
          (layer, count) -> {
            boolean wanted = accepted.contains(layer);
            pass.add(new Run(layer, count, wanted, wanted && !stored.add(layer)));
          });
      all.add(pass);
      return plans.stream()
          .map(plan -> new Score(List.of(kept.contains(plan) ? 1.0 : 0.0)))
          .toList();
    }

    @Override
    public void accepted(CollapsePlan plan) {
      accepted = Set.copyOf(plan.layers());
    }

    @Override
    public void dropped(List<CollapsePlan> plans) {}

    @Override
    public double passCost() {
      return PASS_COST;
    }

    @Override
    public int sweeps() {
      return all.size();
    }

    private int sum(ToIntFunction<List<Run>> ofPass) {
      return all.stream().mapToInt(ofPass).sum();
    }

    private int sumOfMixed(ToIntFunction<Run> ofRun) {
      return sum(pass -> pass.stream().filter(Run::isMixed).mapToInt(ofRun).sum());
    }

    /** Layers to read at least: each once in a pass, and the original's own pass. */
    int floor() {
      return LAYERS
          + sum(
              pass ->
                  (int) pass.stream().filter(run -> run.isMixed() && run.known()).count()
                      + sources(
                          pass.stream()
                              .filter(run -> !run.isMixed() || !run.known())
                              .map(Run::layer)
                              .toList()));
    }

    /** Layers that are used as they are. */
    int plain() {
      return LAYERS + sum(pass -> (int) pass.stream().filter(run -> !run.isMixed()).count());
    }

    /** Each layer is mixed, written, and read by the product; or only mixed, in few rows. */
    int mixed(int fusedRows) {
      return sumOfMixed(run -> sources(List.of(run.layer())) + (run.isFused(fusedRows) ? 0 : 2));
    }

    /** The same, and those of the accepted plan are stored. */
    int mixedOnce(int fusedRows) {
      return sumOfMixed(
          run ->
              run.known()
                  ? 1
                  : sources(List.of(run.layer()))
                      + (run.isFused(fusedRows) && !run.wanted() ? 0 : 2));
    }

    /** Several layers are mixed from the union of their sources; and written, and read. */
    int together(boolean written) {
      return sum(
          pass -> {
            List<LayerMix> mixes =
                pass.stream()
                    .filter(Run::isMixed)
                    .map(Run::layer)
                    .sorted(Comparator.comparing(LayerMix::lastSource))
                    .toList();
            return (written ? 2 * mixes.size() : 0)
                + IntStream.iterate(0, i -> i < mixes.size(), i -> i + OUTS_AT_ONCE)
                    .map(i -> sources(mixes.subList(i, Math.min(i + OUTS_AT_ONCE, mixes.size()))))
                    .sum();
          });
    }

    private static int sources(List<LayerMix> mixes) {
      return (int)
          mixes.stream()
              .flatMap(mix -> mix.attention().terms().keySet().stream())
              .distinct()
              .count();
    }
  }

  /** The search whose decisions were recorded: merges at base 28 and at base 14 are kept. */
  private static Passes search(MergeRule rule, Lookahead lookahead) {
    CollapsePlan.Source source = new CollapsePlan.Source("LlamaForCausalLM", LAYERS, "sha256:none");
    CollapseSettings settings = new CollapseSettings(4, 2, 1, LAYERS, rule, rule.defaultNorms());
    CollapsePlan original = CollapsePlan.identity(source);
    CollapsePlan once = original.fold(28, 3, rule, settings.norms());
    Passes passes = new Passes(Set.of(once, once.fold(14, 3, rule, settings.norms())));
    int trials =
        new LayerCollapse(settings, source, passes, lookahead)
            .run(0.5, (trial, share) -> {})
            .trials()
            .size();
    assertEquals(26, trials);
    return passes;
  }

  @Test
  void theTablesOfTheDocumentationHold() throws IOException {
    Lookahead usual = Lookahead.upTo(SweepOptions.CANDIDATES);
    Passes replaced = search(MergeRule.REPLACE, usual);
    Passes replacedAlone = search(MergeRule.REPLACE, Lookahead.NONE);
    Passes merged = search(MergeRule.rdsc(1), usual);
    Passes mergedAlone = search(MergeRule.rdsc(1), Lookahead.NONE);
    List<String> rows = new ArrayList<>();
    rows.add(floor("`replace`", replaced));
    rows.add(floor("`replace`, `--lookahead 1`", replacedAlone));
    rows.add(floor("Eq. 1", merged));
    rows.add(floor("Eq. 1, `--lookahead 1`", mergedAlone));
    rows.add(
        ways(
            "each layer by `mix`, then products by cuBLAS", merged.mixed(0), mergedAlone.mixed(0)));
    rows.add(
        ways(
            "by `collapse_product` in up to 128 rows, else as above",
            merged.mixed(FUSED_ROWS),
            mergedAlone.mixed(FUSED_ROWS)));
    rows.add(
        ways(
            "the same, but those of the accepted plan once, and stored (the engine)",
            merged.mixedOnce(FUSED_ROWS),
            mergedAlone.mixedOnce(FUSED_ROWS)));
    rows.add(
        ways(
            "four layers of a pass by one launch of `mix`, then products by cuBLAS",
            merged.together(true),
            mergedAlone.together(true)));
    rows.add(
        ways(
            "four layers of a pass in one product",
            merged.together(false),
            mergedAlone.together(false)));
    rows.add(ways("layers that are used as they are", merged.plain(), mergedAlone.plain()));
    String documented =
        Files.readString(TABLES)
            .lines()
            .dropWhile(line -> !line.equals("### What a search reads"))
            .skip(1)
            .takeWhile(line -> !line.startsWith("#"))
            .filter(line -> rows.stream().anyMatch(row -> name(row).equals(name(line))))
            .collect(Collectors.joining("\n"));
    assertEquals(String.join("\n", rows), documented, TABLES.toString());
  }

  private static String name(String row) {
    return row.split(" \\| ", 2)[0];
  }

  private static String floor(String name, Passes passes) {
    return String.format(
        Locale.ROOT,
        "| %s | %d | %d | %.1f GB | %.0f |",
        name,
        passes.all.size(),
        passes.floor(),
        passes.floor() * LAYER_BYTES / 1e9,
        passes.floor() * LAYER_BYTES / BYTES_PER_SECOND * 1e3);
  }

  private static String ways(String name, int usual, int alone) {
    return String.format(
        Locale.ROOT,
        "| %s | %d | %.0f GB | %d | %.0f GB |",
        name,
        usual,
        usual * LAYER_BYTES / 1e9,
        alone,
        alone * LAYER_BYTES / 1e9);
  }
}
