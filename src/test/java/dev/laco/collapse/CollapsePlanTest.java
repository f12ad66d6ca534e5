package dev.laco.collapse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.UsageException;
import dev.laco.model.TensorGroup;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Plans: how merges compose, and their JSON. */
final class CollapsePlanTest {
  private static final CollapsePlan ORIGINAL =
      CollapsePlan.identity(new CollapsePlan.Source("LlamaForCausalLM", 8, "sha256:0"));

  private static final String SHA256 = "0".repeat(64);

  private static CollapsePlan fold(
      CollapsePlan plan, int base, int followers, String rule, NormsPolicy norms) {
    return plan.fold(base, followers, MergeRule.parse(rule), norms);
  }

  @Test
  void equationOneSubtractsTheBaseOnceForEveryFollowerButOne() {
    LayerMix mix = fold(ORIGINAL, 2, 3, "rdsc", NormsPolicy.MERGE).layers().get(2);
    assertEquals(Map.of(2, -2.0, 3, 1.0, 4, 1.0, 5, 1.0), mix.attention().terms());
    assertEquals(mix.attention(), mix.feedForward());
    assertEquals(mix.attention(), mix.norms());
  }

  @Test
  void withOneFollowerEquationOneIsReplacement() {
    assertEquals(
        fold(ORIGINAL, 5, 1, "replace", NormsPolicy.MERGE),
        fold(ORIGINAL, 5, 1, "rdsc", NormsPolicy.MERGE));
  }

  @Test
  void lambdaTurnsEquationOneIntoTheMeans() {
    LayerMix followers = fold(ORIGINAL, 0, 2, "rdsc:0.5", NormsPolicy.MERGE).layers().get(0);
    assertEquals(Map.of(1, 0.5, 2, 0.5), followers.attention().terms());
    assertEquals(
        fold(ORIGINAL, 0, 1, "mean", NormsPolicy.MERGE),
        fold(ORIGINAL, 0, 1, "rdsc:0.5", NormsPolicy.MERGE));
  }

  @Test
  void replacementTakesMatricesFromTheLastFollowerAndNormsFromTheBase() {
    LayerMix mix = fold(ORIGINAL, 4, 2, "replace", NormsPolicy.BASE).layers().get(4);
    assertEquals(4, mix.base());
    assertTrue(
        mix.attention().isCopyOf(6) && mix.feedForward().isCopyOf(6) && mix.norms().isCopyOf(4));
    assertFalse(mix.isOriginal(4));
  }

  @Test
  void droppingKeepsTheBaseAsItIs() {
    CollapsePlan plan = fold(ORIGINAL, 3, 4, "drop", NormsPolicy.BASE);
    assertEquals(4, plan.depth());
    assertEquals(4, plan.sharedPrefix());
    assertFalse(plan.isIdentity());
  }

  @Test
  void aMergeOfMergesIsTheSameCombinationThatMergedWeightsWouldGive() {
    Random random = new Random(7);
    for (int round = 0; round < 200; round++) {
      double[] theta = random.doubles(8, -1, 1).toArray();
      CollapsePlan plan = ORIGINAL;
      double[] values = theta.clone();
      while (plan.depth() > 1) {
        int base = random.nextInt(plan.depth() - 1);
        int followers = 1 + random.nextInt(plan.depth() - base - 1);
        String rule = List.of("rdsc", "rdsc:0.3", "replace", "mean", "drop").get(random.nextInt(5));
        values = mergedWeights(values, base, MergeRule.parse(rule).coefficients(followers));
        plan = fold(plan, base, followers, rule, NormsPolicy.MERGE);
        for (int i = 0; i < plan.depth(); i++) {
          for (TensorGroup group : TensorGroup.values()) {
            assertEquals(values[i], combined(theta, plan.layers().get(i).of(group)), 1e-9);
          }
        }
      }
    }
  }

  private static double[] mergedWeights(double[] values, int base, double[] coefficients) {
    double[] result = new double[values.length - coefficients.length + 1];
    System.arraycopy(values, 0, result, 0, base);
    for (int i = 0; i < coefficients.length; i++) {
      result[base] = (i == 0 ? 0 : result[base]) + coefficients[i] * values[base + i];
    }
    System.arraycopy(
        values, base + coefficients.length, result, base + 1, result.length - base - 1);
    return result;
  }

  private static double combined(double[] theta, Coefficients coefficients) {
    return coefficients.terms().entrySet().stream()
        .mapToDouble(e -> e.getValue() * theta[e.getKey()])
        .sum();
  }

  @Test
  void aPlanSurvivesItsJson() {
    CollapsePlan plan =
        fold(
            fold(ORIGINAL, 4, 3, "replace", NormsPolicy.BASE), 1, 2, "rdsc:0.3", NormsPolicy.MERGE);
    assertEquals(plan, CollapsePlan.parse("plan.json", plan.toJsonText()));
  }

  @Test
  void newTensorsSurviveTheirJson() {
    CollapsePlan folded = fold(ORIGINAL, 4, 3, "drop", NormsPolicy.BASE);
    CollapsePlan plan =
        folded.withTensors(
            new CollapsePlan.NewTensors("p.safetensors", SHA256, List.of("b.weight", "a.weight")));
    assertEquals(
        String.format(
            Locale.ROOT,
            "{\"file\":\"p.safetensors\",\"sha256\":\"%s\",\"names\":[\"a.weight\",\"b.weight\"]}",
            SHA256),
        plan.toJson().get("tensors").toString());
    assertEquals(plan, CollapsePlan.parse("plan.json", plan.toJsonText()));
    assertEquals(folded, plan.withTensors(null));
    assertFalse(folded.toJson().has("tensors"));
  }

  @Test
  void aPlanWithNewTensorsIsNotTheOriginalAndCannotBeFolded() {
    CollapsePlan plan =
        ORIGINAL.withTensors(
            new CollapsePlan.NewTensors("p.safetensors", SHA256, List.of("model.norm.weight")));
    assertTrue(ORIGINAL.isIdentity());
    assertFalse(plan.isIdentity());
    assertThrows(IllegalStateException.class, () -> fold(plan, 0, 1, "drop", NormsPolicy.BASE));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\0',
      value = {
        "7 | tensors: expected a JSON object, found number",
        "[] | tensors: expected a JSON object, found array",
        "{} | tensors: names: expected a list of tensor names, found nothing",
        "{\"file\":\"p.safetensors\",\"sha256\":\"HASH\",\"names\":\"a\"} | tensors: names: expected a list of tensor names, found \"a\"",
        "{\"file\":\"p.safetensors\",\"sha256\":\"HASH\",\"names\":[1]} | tensors: names: expected a list of tensor names, found [1]",
        "{\"file\":\"p.safetensors\",\"sha256\":\"HASH\",\"names\":[]} | tensors.names: expected at least one tensor, each once, found 0",
        "{\"file\":\"p.safetensors\",\"sha256\":\"HASH\",\"names\":[\"a\",\"a\"]} | tensors.names: expected at least one tensor, each once, found 2",
        "{\"file\":\"p.safetensors\",\"sha256\":\"HASH\",\"names\":[\"a b\"]} | tensors.names: expected names of tensors, found \"a b\"",
        "{\"file\":\"p.safetensors\",\"sha256\":\"HASH\",\"names\":[\"../a\"]} | tensors.names: expected names of tensors, found \"../a\"",
        "{\"file\":\"p.bin\",\"sha256\":\"HASH\",\"names\":[\"a\"]} | tensors.file: expected the name of a .safetensors file beside the plan, found \"p.bin\"",
        "{\"file\":\"../p.safetensors\",\"sha256\":\"HASH\",\"names\":[\"a\"]} | tensors.file: expected the name of a .safetensors file beside the plan, found \"../p.safetensors\"",
        "{\"file\":\".safetensors\",\"sha256\":\"HASH\",\"names\":[\"a\"]} | tensors.file: expected the name of a .safetensors file beside the plan, found \".safetensors\"",
        "{\"file\":[],\"sha256\":\"HASH\",\"names\":[\"a\"]} | tensors: file: expected a string, found []",
        "{\"file\":\"p.safetensors\",\"names\":[\"a\"]} | tensors.sha256: expected 64 hexadecimal digits, found \"\"",
        "{\"file\":\"p.safetensors\",\"sha256\":\"sha256:HASH\",\"names\":[\"a\"]} | tensors.sha256: expected 64 hexadecimal digits, found \"sha256:00",
      })
  void newTensorsAreReadStrictly(String tensors, String message) {
    String text =
        String.format(
            Locale.ROOT,
            "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"0\":1}}],\"tensors\":%s}",
            tensors.replace("HASH", SHA256));
    BadInputException e =
        assertThrows(BadInputException.class, () -> CollapsePlan.parse("p.json", text));
    assertTrue(String.valueOf(e.getMessage()).startsWith("p.json: " + message), e.getMessage());
  }

  @Test
  void equalGroupsAreWrittenOnceAndDifferentOnesByName() {
    String equal =
        fold(ORIGINAL, 0, 1, "mean", NormsPolicy.MERGE).toJson().at("/layers/0").toString();
    assertEquals("{\"base\":0,\"mix\":{\"0\":0.5,\"1\":0.5}}", equal);
    String grouped =
        fold(ORIGINAL, 0, 1, "replace", NormsPolicy.BASE).toJson().at("/layers/0").toString();
    assertEquals(
        "{\"base\":0,\"mix\":{\"attention\":{\"1\":1.0},\"feedForward\":{\"1\":1.0},\"norms\":{\"0\":1.0}}}",
        grouped);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "[]",
        "{\"version\":1",
        "{\"version\":2,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"0\":1}}]}",
        "{\"version\":1,\"layers\":[{\"base\":0,\"mix\":{\"0\":1}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":{}}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"1\":1}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"0\":0}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"0\":1e999}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":1,\"mix\":{\"0\":1}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":-1,\"mix\":{\"0\":1}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"x\":1}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[{\"base\":0,\"mix\":{\"attention\":{\"0\":1}}}]}",
        "{\"version\":1,\"source\":{\"layers\":2},\"layers\":[{\"base\":1,\"mix\":{\"0\":1}},{\"base\":0,\"mix\":{\"0\":1}}]}",
        "{\"version\":1,\"source\":{\"layers\":1},\"layers\":[7]}",
      })
  void whatIsNoPlanIsBadInputThatNamesTheFile(String text) {
    BadInputException e =
        assertThrows(BadInputException.class, () -> CollapsePlan.parse("p.json", text));
    assertTrue(String.valueOf(e.getMessage()).startsWith("p.json"), e.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", "rdsc:", "rdsc:x", "rdsc:NaN", "rdsc:Infinity", "rdsc:11", "Replace", "slerp"})
  void whatIsNoRuleIsAUsageError(String text) {
    assertThrows(UsageException.class, () -> MergeRule.parse(text));
  }

  @ParameterizedTest
  @ValueSource(strings = {"rdsc", "rdsc:0.25", "replace", "mean", "drop"})
  void aRuleIsNamedAsItIsGiven(String text) {
    assertEquals(text, MergeRule.parse(text).label());
    assertEquals(MergeRule.parse(text), MergeRule.parse(text));
  }

  @Test
  void zeroCoefficientsAreLeftOut() {
    assertEquals(Map.of(1, 2.0), new Coefficients(new TreeMap<>(Map.of(0, 0.0, 1, 2.0))).terms());
  }

  @Test
  void aPlanTellsTheTypeOfProductsThatItWasFoundBy() {
    CollapsePlan plan = fold(ORIGINAL, 5, 1, "drop", NormsPolicy.BASE).withProducts("bf16");
    assertEquals("bf16", plan.toJson().get("products").textValue());
    assertEquals(plan, CollapsePlan.parse("plan.json", plan.toJsonText()));
    String odd = plan.toJsonText().replace("bf16", "int4");
    String message =
        assertThrows(BadInputException.class, () -> CollapsePlan.parse("plan.json", odd))
            .getMessage();
    assertTrue(message.startsWith("plan.json: products: expected f32, bf16 or f16"), message);
  }
}
