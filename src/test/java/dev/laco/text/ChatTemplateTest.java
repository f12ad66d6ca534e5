package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.InputJson;
import dev.laco.Model;
import dev.laco.checkpoint.tokenizer.ChatFiles;
import dev.laco.run.EvaluationText;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Chats in files of text, on the demo model with a template of its own. */
class ChatTemplateTest {
  private static final Path STORYTELLER = Path.of("models/storyteller");
  private static final String TEMPLATE =
      "{{ bos_token }}{% for message in messages %}\n"
          + "{{ message.role }}: {{ message.content | trim }}\n"
          + "{% endfor %}\n"
          + "{% if tools %}tools {{ tools | length }}{% endif %}{{ eos_token }}";
  private static final String CHAT =
      "{\"messages\": [{\"role\": \"user\", \"content\": \" Where is the keeper? \"},"
          + " {\"role\": \"assistant\", \"content\": \"In the lighthouse.\"}]}";
  private static final String TEXT = "user: Where is the keeper?\nassistant: In the lighthouse.\n";

  @TempDir Path folder;
  private Path model;

  @BeforeEach
  void copyModel() throws IOException {
    model = Files.createDirectory(folder.resolve("model"));
    try (Stream<Path> files = Files.list(STORYTELLER)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        Files.createSymbolicLink(model.resolve(file.getFileName()), file.toAbsolutePath());
      }
    }
  }

  private void template(String template) throws IOException {
    Files.writeString(model.resolve("chat_template.jinja"), template);
  }

  private List<String> documents(String lines) throws IOException {
    Path file = Files.writeString(folder.resolve("chats.jsonl"), lines);
    try (Model opened = Model.open(model)) {
      return texts(file, opened);
    }
  }

  private static List<String> texts(Path file, Model opened) {
    return TextFile.documents(file, () -> opened.tokenizer().orElseThrow()).stream()
        .map(InputText::text)
        .toList();
  }

  @Test
  void aChatIsTheTextThatTheTemplateMakes() throws IOException {
    template(TEMPLATE);
    List<String> documents = documents(CHAT + "\n{\"text\": \"plain\"}\n");
    assertEquals(2, documents.size());
    String text = documents.getFirst();
    // The tokenizer itself puts the token in front that begins a text.
    assertTrue(text.startsWith(TEXT), text);
    assertEquals("plain", documents.getLast());
  }

  @Test
  void chatsAsShareGptHasThemAreTheSameText() throws IOException {
    template(TEMPLATE);
    String shared =
        "{\"conversations\": [{\"from\": \"human\", \"value\": \" Where is the keeper? \"},"
            + " {\"from\": \"gpt\", \"value\": \"In the lighthouse.\"}]";
    List<String> documents =
        documents(
            CHAT
                + "\n"
                + shared
                + "}\n"
                + shared
                + ", \"system\": \"Be brief.\"}\n"
                + shared.replace("human", "tool")
                + "}\n");
    assertEquals(documents.getFirst(), documents.get(1));
    assertTrue(documents.get(2).startsWith("system: Be brief.\n" + TEXT), documents.get(2));
    assertTrue(documents.get(3).startsWith("tool: Where"), documents.get(3));
  }

  @Test
  void toolsAndOtherVariablesReachTheTemplate() throws IOException {
    template("{{ tools | tojson }} {{ mood }} {{ add_generation_prompt }}");
    String line =
        "{\"messages\": [{\"role\": \"user\"}], \"tools\": [{\"name\": \"f\"}],"
            + " \"chat_template_kwargs\": {\"mood\": \"calm\"}}";
    assertEquals(List.of("[{\"name\": \"f\"}] calm False"), documents(line));
  }

  @Test
  void withoutToolsATemplateGetsWhatTransformersGivesIt() throws IOException {
    JsonNode recorded =
        new JsonMapper().readTree(Path.of("src/test/resources/chats/cases.json").toFile());
    String chat = "{\"messages\": " + recorded.path("variables").path("messages") + "}";
    assertFalse(recorded.path("without_tools").isEmpty());
    for (JsonNode known : recorded.path("without_tools")) {
      template(known.path("template").textValue());
      assertEquals(List.of(known.path("text").textValue()), documents(chat));
    }
  }

  @Test
  void allTokensThatBeginATextAreDroppedWhereTheTemplateWritesThem() throws IOException {
    Fixtures.writeTokenizer(model, "<unk>", "<s>", "A");
    template("<unk><s>" + TEMPLATE.substring("{{ bos_token }}".length()));
    String text = documents(CHAT).getFirst();
    assertTrue(text.startsWith(TEXT), text);
    template(TEMPLATE);
    text = documents(CHAT).getFirst();
    assertTrue(text.startsWith("<s>" + TEXT), text);
  }

  @Test
  void fitAndCalibrationTextReadChats() throws IOException {
    template(TEMPLATE);
    Path chats = Files.writeString(folder.resolve("chats.jsonl"), CHAT + "\n");
    String text = documents(CHAT).getFirst();
    Path plain = Files.writeString(folder.resolve("plain.txt"), text);
    try (Model opened = Model.open(model)) {
      CalibrationSet.Target target =
          new CalibrationSet.Target(
              opened.tokenizer(), opened.missingTokenizer(), opened.config().vocabSize(), 512);
      int[] ids = FitText.read(chats, target).chunks().getFirst().ids();
      assertArrayEquals(FitText.read(plain, target).chunks().getFirst().ids(), ids);
      assertArrayEquals(
          opened.tokenizer().orElseThrow().encode(text),
          CalibrationSet.read(chats, target).sequences().getFirst());
    }
  }

  /**
   * The ids are those of {@code apply_chat_template} with {@code tokenize=True} of transformers
   * 5.24, by a PreTrainedTokenizerFast of the same file and templates: where the template writes no
   * {@code <s>}, those behind the one that begins each chunk.
   */
  @ParameterizedTest
  @CsvSource({
    "first, {{ bos_token }}, 1 15 8 12 10 2",
    "first, '', 16 8 12 10 2",
    "always, {{ bos_token }}, 1 16 8 12 10 2",
    "never, {{ bos_token }}, 1 15 8 12 10 2"
  })
  void aChatHasTheIdsOfItsWholeText(String scheme, String front, String expected)
      throws IOException {
    writeMetaspace(scheme);
    template(
        front + "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}");
    String chat = "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n";
    Path chats = Files.writeString(folder.resolve("chats.jsonl"), chat);
    int[] ids =
        Arrays.stream(("1 " + expected.replaceFirst("^1 ", "")).split(" "))
            .mapToInt(Integer::parseInt)
            .toArray();
    try (Model opened = Model.open(model)) {
      CalibrationSet.Target target =
          new CalibrationSet.Target(
              opened.tokenizer(), opened.missingTokenizer(), opened.config().vocabSize(), 512);
      assertArrayEquals(ids, FitText.read(chats, target).chunks().getFirst().ids());
      assertArrayEquals(ids, CalibrationSet.read(chats, target).sequences().getFirst());
      InputText text = TextFile.documents(chats, () -> opened.tokenizer().orElseThrow()).getFirst();
      List<TextChunks.Chunk> scored = EvaluationText.chunks("chats", text, opened, null, null);
      assertArrayEquals(ids, scored.getFirst().ids());
    }
  }

  /** Writes a tokenizer of 17 tokens whose texts have a blank in front, as a scheme says. */
  private void writeMetaspace(String scheme) throws IOException {
    String special =
        "{'id': %d, 'content': '%s', 'special': true, 'single_word': false, 'lstrip': false,"
            + " 'rstrip': false, 'normalized': false}";
    String blanks =
        "{'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': '"
            + scheme
            + "', 'split': false}";
    String json =
        "{'version': '1.0', 'added_tokens': ["
            + String.format(Locale.ROOT, special, 0, "<unk>")
            + ", "
            + String.format(Locale.ROOT, special, 1, "<s>")
            + ", "
            + String.format(Locale.ROOT, special, 2, "</s>")
            + "], 'pre_tokenizer': "
            + blanks
            + ", 'post_processor': {'type': 'TemplateProcessing', 'single':"
            + " [{'SpecialToken': {'id': '<s>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}],"
            + " 'pair': [{'Sequence': {'id': 'A', 'type_id': 0}}, {'Sequence': {'id': 'B', 'type_id': 1}}],"
            + " 'special_tokens': {'<s>': {'id': '<s>', 'ids': [1], 'tokens': ['<s>']}}}, 'decoder': "
            + blanks
            + ", 'model': {'type': 'BPE', 'unk_token': '<unk>', 'vocab': {'<unk>': 0, '<s>': 1,"
            + " '</s>': 2, '▁': 3, 'u': 4, 's': 5, 'e': 6, 'r': 7, ':': 8, 'h': 9, 'i': 10, '▁u': 11,"
            + " '▁h': 12, 'us': 13, 'er': 14, 'user': 15, '▁user': 16}, 'merges': [['u', 's'],"
            + " ['e', 'r'], ['us', 'er'], ['▁', 'user'], ['▁', 'h']]}}";
    Path file = model.resolve("tokenizer.json");
    Files.delete(file);
    Files.writeString(file, json.replace("'", "\""));
  }

  @Test
  void templatesAreFoundWhereTransformersLooks() throws IOException {
    Path config = model.resolve("tokenizer_config.json");
    Files.deleteIfExists(config);
    Files.writeString(
        config,
        "{\"bos_token\": {\"content\": \"<b>\"}, \"eos_token\": \"<e>\", \"chat_template\":"
            + " [{\"name\": \"tool_use\", \"template\": \"a\"}, {\"name\": \"default\","
            + " \"template\": \"b\"}]}");
    Files.deleteIfExists(model.resolve("special_tokens_map.json"));
    Files.writeString(
        model.resolve("special_tokens_map.json"), "{\"bos_token\": \"x\", \"unk_token\": \"<u>\"}");
    ChatFiles files = new ChatFiles(model, () -> InputJson.readObject(config));
    assertEquals(Optional.of("b"), files.template());
    assertEquals(
        Map.of("bos_token", "<b>", "eos_token", "<e>", "unk_token", "<u>"), files.specialTokens());
    Files.writeString(model.resolve("chat_template.json"), "{\"chat_template\": \"c\"}");
    assertEquals(Optional.of("c"), files.template());
    template("d");
    assertEquals(Optional.of("d"), files.template());
    assertEquals(
        Optional.of("e"),
        new ChatFiles(folder, () -> InputJson.parse("", "{\"chat_template\": \"e\"}")).template());
  }

  /** The texts are those of {@code apply_chat_template} of transformers 5.24. */
  @Test
  void chatsWithToolsHaveATemplateOfTheirOwn() throws IOException {
    String withTools = CHAT.replaceFirst("\\}$", ", \"tools\": [{\"name\": \"f\"}]}");
    Path config = model.resolve("tokenizer_config.json");
    Files.delete(config);
    Files.writeString(
        config,
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"{{ tools[0].name }}\"},"
            + " {\"name\": \"default\", \"template\": \"usual\"}]}");
    assertEquals(List.of("f", "usual"), documents(withTools + "\n" + CHAT));
    template("own");
    assertEquals(List.of("own", "own"), documents(withTools + "\n" + CHAT));
    Path more = Files.createDirectory(model.resolve("additional_chat_templates"));
    Files.writeString(more.resolve("tool_use.jinja"), "for tools");
    assertEquals(List.of("for tools", "own"), documents(withTools + "\n" + CHAT));
  }

  @Test
  void theEndOfAFileNameMayBeInCapitals() throws IOException {
    Path file = Files.writeString(folder.resolve("A.JSONL"), "{\"text\": \"plain\"}\n");
    try (Model opened = Model.open(model)) {
      assertEquals(List.of("plain"), texts(file, opened));
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{} | line 1 is not an object with a string \"text\"",
        "{\"messages\": []} | line 1: \"messages\": expected a list of objects with a \"role\"",
        "{\"messages\": \"hello\"} | line 1: \"messages\": expected a list",
        "{\"messages\": [{\"content\": \"x\"}]} | line 1: \"messages\": expected a list",
        "{\"conversations\": [{\"value\": \"x\"}]} | line 1: \"messages\": expected a list",
        "{\"conversations\": 3} | line 1: \"messages\": expected a list",
        "{\"conversations\": [3]} | line 1: \"messages\": expected a list",
        "{\"messages\": [{\"role\": \"user\"}]} | refuses the chat: line 1: no content",
      })
  void aBrokenChatIsBadInput(String line, String says) throws IOException {
    template("{% if not messages[0].content %}{{ raise_exception('no content') }}{% endif %}");
    BadInputException error = assertThrows(BadInputException.class, () -> documents(line));
    assertTrue(error.getMessage().contains("chats.jsonl"), error.getMessage());
    assertTrue(error.getMessage().contains(says), error.getMessage());
  }

  @Test
  void longTextsOfShortChatsAreBadInput() throws IOException {
    template("{{ 'word ' * 1000000 }}");
    BadInputException error =
        assertThrows(BadInputException.class, () -> documents((CHAT + "\n").repeat(4)));
    assertTrue(
        error
            .getMessage()
            .endsWith(
                "line 4: the texts up to this line have more than"
                    + " 16,777,216 characters; split the file"),
        error.getMessage());
  }

  @Test
  void aModelWithoutATemplateSaysSo() {
    BadInputException error = assertThrows(BadInputException.class, () -> documents(CHAT));
    assertTrue(error.getMessage().contains("a chat needs a chat template"), error.getMessage());
  }

  @Test
  void aTemplateThatCannotRunHereSaysSo() throws IOException {
    template("{% include 'other' %}");
    BadInputException error = assertThrows(BadInputException.class, () -> documents(CHAT));
    assertTrue(
        error.getMessage().contains("there is no statement 'include'; lines with \"text\" need"),
        error.getMessage());
  }
}
