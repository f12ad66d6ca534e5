package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.text.Tokenizer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GenerateTest {
  private static final String PROMPT = "Once upon a time";
  private static final int NEW_TOKENS = 6;

  @TempDir Path folder;

  private static ProgramRun generate(Path model, Object... more) {
    return generateFrom(PROMPT, model, more);
  }

  private static ProgramRun generateFrom(String prompt, Path model, Object... more) {
    List<Object> arguments =
        new ArrayList<>(List.of("generate", model, "--prompt", prompt, "--compute", "f32"));
    arguments.addAll(Arrays.asList(more));
    return Laco.run(arguments.toArray()).succeeded();
  }

  @Test
  void thePromptComesFirstAndSamplingIsSeededUnlessTheTemperatureIsZero() {
    ProgramRun usual = generate(Fixtures.STORYTELLER, "--max-tokens", 24);
    assertTrue(usual.out().startsWith(PROMPT + " "), usual.out());
    assertEquals(usual.out(), generate(Fixtures.STORYTELLER, "--max-tokens", 24).out());
    assertTrue(
        usual.err().contains("sampling     temperature 0.8, top-p 0.95, seed 0"), usual.err());
    ProgramRun seeded = generate(Fixtures.STORYTELLER, "--max-tokens", 24, "--seed", 7);
    assertNotEquals(usual.out(), seeded.out());
    assertTrue(seeded.err().contains("seed 7"), seeded.err());
    ProgramRun greedy = generate(Fixtures.STORYTELLER, "--max-tokens", 24, "--temperature", 0);
    assertNotEquals(usual.out(), greedy.out());
    assertTrue(greedy.err().contains("sampling     greedy"), greedy.err());
    JsonNode json =
        generate(Fixtures.STORYTELLER, "--max-tokens", 24, "--seed", 7, "--json").json();
    assertEquals(
        seeded.out(),
        json.get("prompt").textValue() + json.get("text").textValue() + System.lineSeparator());
    assertEquals(7, json.get("seed").intValue());
    assertEquals(0.8, json.get("temperature").doubleValue());
    assertEquals(0.95, json.get("topP").doubleValue());
  }

  @Test
  void oneTokenToSampleFromIsGreedyAndAPenaltyMakesAnotherText() {
    String greedy = generate(Fixtures.STORYTELLER, "--max-tokens", 24, "--temperature", 0).out();
    ProgramRun first = generate(Fixtures.STORYTELLER, "--max-tokens", 24, "--top-k", 1);
    assertEquals(greedy, first.out());
    assertTrue(first.err().contains("temperature 0.8, top-k 1, top-p 0.95, seed 0"), first.err());
    ProgramRun likely = generate(Fixtures.STORYTELLER, "--max-tokens", 24, "--min-p", 1);
    assertEquals(greedy, likely.out());
    assertTrue(likely.err().contains("top-p 0.95, min-p 1.0, seed 0"), likely.err());
    Object[] penal = {"--max-tokens", 24, "--temperature", 0, "--repetition-penalty", 1.5};
    ProgramRun other = generate(Fixtures.STORYTELLER, penal);
    assertNotEquals(greedy, other.out());
    assertTrue(other.err().contains("token each time, repetition penalty 1.5"), other.err());
  }

  @Test
  void greedyTextIsTheSameEveryTimeAndTheDeviceIsSaidBesideIt() {
    ProgramRun first = generate(Fixtures.STORYTELLER, "--max-tokens", 12, "--temperature", 0);
    assertTrue(first.err().matches("device +cpu .*\\Rmemory +.*\\Rsampling +.*\\R"), first.err());
    ProgramRun again =
        generate(Fixtures.STORYTELLER, "--max-tokens", 12, "--temperature", 0, "--quiet");
    assertEquals(first.out(), again.out());
    assertEquals("", again.err());
    assertTrue(first.out().length() > 12, first.out());
  }

  @Test
  void greedyTextWithTheCacheIsWhatFullForwardPassesGive() {
    String text =
        generate(Fixtures.STORYTELLER, "--max-tokens", NEW_TOKENS, "--temperature", 0, "--json")
            .json()
            .get("text")
            .textValue();
    try (Tokenizer tokenizer = Tokenizer.load(Fixtures.STORYTELLER).orElseThrow()) {
      int[] ids = tokenizer.encode(PROMPT);
      int prompt = ids.length;
      for (int i = 0; i < NEW_TOKENS; i++) {
        ids = Arrays.copyOf(ids, ids.length + 1);
        ids[ids.length - 1] = next(Arrays.copyOf(ids, ids.length - 1));
      }
      String whole = tokenizer.decode(ids);
      assertTrue(whole.endsWith(text), whole + " / " + text);
      assertEquals(NEW_TOKENS, ids.length - prompt);
    }
  }

  /** The likeliest token after these, by a forward pass over all of them. */
  private int next(int[] ids) {
    Path tokens = TestFiles.write(folder.resolve("ids.json"), "[" + Arrays.toString(ids) + "]");
    Path dump = folder.resolve("dump.safetensors");
    Laco.run("eval", Fixtures.STORYTELLER, "--tokens", tokens, "--dump", dump, "--compute", "f32")
        .succeeded();
    Safetensors.Tensor logits = Safetensors.read(dump).get("0.logits");
    int vocabulary = logits.elements() / ids.length;
    int best = 0;
    for (int i = 1; i < vocabulary; i++) {
      int last = (ids.length - 1) * vocabulary;
      best = logits.value(last + i) > logits.value(last + best) ? i : best;
    }
    return best;
  }

  @Test
  void sampledTextRepeatsWithItsSeedAndChangesWithAnother() {
    String first = sampled(1);
    assertEquals(first, sampled(1));
    assertNotEquals(first, sampled(2));
  }

  private static String sampled(int seed) {
    return generate(
            Fixtures.STORYTELLER,
            "--max-tokens",
            16,
            "--temperature",
            1,
            "--top-p",
            0.9,
            "--seed",
            seed)
        .out();
  }

  @Test
  void aStopTokenEndsTheTextAndIsNotPrinted() throws IOException {
    Path model = copyOfStoryteller();
    JsonNode whole =
        generate(model, "--max-tokens", NEW_TOKENS, "--temperature", 0, "--json").json();
    assertEquals(NEW_TOKENS, whole.get("newTokens").intValue());
    int third;
    try (Tokenizer tokenizer = Tokenizer.load(Fixtures.STORYTELLER).orElseThrow()) {
      int[] ids = tokenizer.encode(PROMPT);
      for (int i = 0; i < 2; i++) {
        int token = next(ids);
        ids = Arrays.copyOf(ids, ids.length + 1);
        ids[ids.length - 1] = token;
      }
      third = next(ids);
    }
    Files.delete(model.resolve("generation_config.json"));
    TestFiles.write(
        model.resolve("generation_config.json"), "{\"eos_token_id\": [2, " + third + "]}");
    JsonNode stopped =
        generate(model, "--max-tokens", NEW_TOKENS, "--temperature", 0, "--json").json();
    assertEquals(2, stopped.get("newTokens").intValue());
    String text = stopped.get("text").textValue();
    assertTrue(whole.get("text").textValue().startsWith(text), text);
  }

  @Test
  void aChatIsAnsweredByTheModelsOwnTemplate() throws IOException {
    Path model = copyOfStoryteller();
    TestFiles.write(
        model.resolve("chat_template.jinja"),
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
            + "{% if add_generation_prompt %}assistant: One day{% endif %}");
    ProgramRun chat = generateFrom("Hello.", model, "--chat", "--max-tokens", NEW_TOKENS);
    String continued = "user: Hello.\nassistant: One day";
    ProgramRun plain = generateFrom(continued, model, "--max-tokens", NEW_TOKENS);
    assertEquals(plain.out(), continued + chat.out());
    Object[] system = {"--chat", "--system", "Be brief.", "--max-tokens", NEW_TOKENS, "--json"};
    JsonNode json = generateFrom("Hello.", model, system).json();
    assertEquals("Be brief.", json.get("system").textValue());
    assertTrue(json.get("chat").booleanValue());
    JsonNode same =
        generateFrom("system: Be brief.\n" + continued, model, "--max-tokens", NEW_TOKENS, "--json")
            .json();
    assertEquals(same.get("text"), json.get("text"));
    assertEquals(same.get("promptTokens"), json.get("promptTokens"));
  }

  @Test
  void theSpecialTokensOfAChatAreThoseThatItsTemplateWrites() throws IOException {
    Path model = copyOfStoryteller();
    String text = "{{ messages[0].content }}";
    TestFiles.write(model.resolve("chat_template.jinja"), text);
    Object[] options = {"--chat", "--max-tokens", 2, "--temperature", 0, "--json"};
    JsonNode bare = generateFrom(PROMPT, model, options).json();
    Files.delete(model.resolve("chat_template.jinja"));
    TestFiles.write(model.resolve("chat_template.jinja"), "<unk><s>" + text);
    JsonNode usual = generateFrom(PROMPT, model, options).json();
    Fixtures.writeTokenizer(model, "<unk>", "<s>", "A");
    JsonNode two = generateFrom(PROMPT, model, options).json();
    JsonNode plain =
        generateFrom(PROMPT, model, "--max-tokens", 2, "--temperature", 0, "--json").json();
    assertEquals(bare.get("promptTokens").intValue() + 2, plain.get("promptTokens").intValue());
    for (JsonNode chat : List.of(usual, two)) {
      assertEquals(plain.get("promptTokens"), chat.get("promptTokens"));
      assertEquals(plain.get("text"), chat.get("text"));
    }
  }

  @Test
  void aChatNeedsATemplateAndASystemsMessageAChat() {
    ProgramRun none = Laco.run("generate", Fixtures.STORYTELLER, "--chat", "--prompt", PROMPT);
    assertEquals(3, none.code());
    assertTrue(
        none.err().startsWith("laco: --chat: a chat needs a chat template and ")
            && none.err().contains("; --prompt without --chat needs no template"),
        none.err());
    ProgramRun alone =
        Laco.run("generate", Fixtures.STORYTELLER, "--system", "Be brief.", "--prompt", PROMPT);
    assertEquals(2, alone.code());
    assertTrue(alone.err().contains("--system Be brief. begins a chat: add --chat"), alone.err());
  }

  @Test
  void aLinkToStopTokensThatAreGoneIsNotReplacedByThoseOfTheConfig() throws IOException {
    Path model = copyOfStoryteller();
    Path link = model.resolve("generation_config.json");
    Files.delete(link);
    Files.createSymbolicLink(link, Path.of("gone"));
    ProgramRun run = Laco.run("generate", model, "--prompt", PROMPT, "--max-tokens", 1);
    assertEquals(3, run.code());
    assertTrue(run.err().matches("laco: " + link + ": is a link to gone, .*\\R"), run.err());
  }

  private Path copyOfStoryteller() throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    for (String name : TestFiles.names(Fixtures.STORYTELLER)) {
      Files.createSymbolicLink(
          model.resolve(name), Fixtures.STORYTELLER.resolve(name).toAbsolutePath());
    }
    return model;
  }

  @Test
  void everyPieceOfAStreamIsWholeCharactersAndTogetherTheyAreTheText() {
    for (int seed = 0; seed < 4; seed++) {
      Object[] wild = {
        "--max-tokens", 60, "--temperature", 5, "--top-p", 1, "--seed", seed, "--prompt", "雪 🐎 é"
      };
      String whole = sampledText(wild);
      List<String> pieces = new ArrayList<>();
      PrintWriter out = new PrintWriter(new Pieces(pieces));
      List<String> arguments =
          new ArrayList<>(List.of("generate", Fixtures.STORYTELLER.toString()));
      Arrays.stream(wild).map(Object::toString).forEach(arguments::add);
      arguments.add("--quiet");
      int code =
          Main.run(out, new PrintWriter(Writer.nullWriter()), arguments.toArray(String[]::new));
      assertEquals(0, code);
      assertTrue(pieces.size() > 10, pieces::toString);
      for (String piece : pieces) {
        assertTrue(UTF_8.newEncoder().canEncode(piece), "half a character: " + piece);
      }
      assertEquals("雪 🐎 é" + whole + System.lineSeparator(), String.join("", pieces));
    }
  }

  private static String sampledText(Object... options) {
    List<Object> arguments = new ArrayList<>(List.of("generate", Fixtures.STORYTELLER, "--json"));
    arguments.addAll(Arrays.asList(options));
    return Laco.run(arguments.toArray()).succeeded().json().get("text").textValue();
  }

  /** Keeps what is written, a piece each time. */
  private static final class Pieces extends Writer {
    private final List<String> pieces;

    Pieces(List<String> pieces) {
      this.pieces = pieces;
    }

    @Override
    public void write(char[] characters, int offset, int length) {
      if (length > 0) {
        pieces.add(new String(characters, offset, length));
      }
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }

  @Test
  void aPrunedModelSpeaksToo() {
    Path out = folder.resolve("out");
    Object[] prune = {
      "prune",
      Fixtures.STORYTELLER,
      out,
      "--target-layers",
      14,
      "--search",
      "greedy",
      "--rule",
      "drop"
    };
    Laco.run(prune).succeeded();
    JsonNode found = generate(out, "--max-tokens", 4, "--json").json();
    assertEquals(4, found.get("newTokens").intValue());
  }

  @Test
  void aModelWithoutATokenizerIsBadInput() {
    ProgramRun run = Laco.run("generate", dev.laco.Fixtures.model("llama_linear"), "--prompt", "x");
    assertEquals(3, run.code());
    assertTrue(run.err().contains("tokenizer.json"), run.err());
    assertEquals(1, run.err().lines().count());
  }

  @Test
  void aGgufFileWithoutATokenizerIsNotAskedForATokenizerJson() {
    Path model = Fixtures.RESOURCES.resolve("gguf/qwen2_bias.q8_0.gguf");
    ProgramRun run = Laco.run("generate", model, "--prompt", "x");
    assertEquals(3, run.code());
    assertTrue(run.err().contains(": has no tokenizer in its metadata"), run.err());
  }
}
