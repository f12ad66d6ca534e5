package dev.laco.evaluate;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.evaluate.Task.DataSet;
import dev.laco.evaluate.Task.Group;
import dev.laco.evaluate.Task.Kind;
import dev.laco.evaluate.Task.Place;
import dev.laco.evaluate.Task.Sampling;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The tasks with their prompts, which are those of lm-evaluation-harness 0.4.13, character by
 * character. Items are read as their authors published them, and as the data sets of Hugging Face's
 * hub have them.
 */
final class Benchmarks {
  private static final String VALIDATION = "validation";
  private static final String TEST = "test";
  private static final String TRAIN = "train";
  private static final String MMLU = "mmlu";
  private static final String CMMLU = "cmmlu";
  private static final String ANSWER = "answer";
  private static final List<String> LETTERS = List.of("A", "B", "C", "D");
  private static final String LABEL = "label";
  private static final String QUESTION = "question";
  private static final String CHOICES = "choices";
  private static final String ANSWER_KEY = "answerKey";
  private static final String SENTENCE = "sentence";
  private static final char BLANK = '_';

  /** The field of a text of WikiText. */
  static final String PAGE = "page";

  /** What HellaSwag's pages of WikiHow have left in brackets. */
  private static final Pattern BRACKETS = Pattern.compile("\\[.*?\\]", Pattern.UNIX_LINES);

  private static final List<String> QA5 =
      List.of("arc_challenge", "arc_easy", "hellaswag", "piqa", "winogrande");

  private Benchmarks() {}

  /** All tasks. */
  static Stream<Task> all() {
    return Stream.of(single().stream(), Probe.tasks().stream(), mmlu(), cmmlu())
        .flatMap(tasks -> tasks);
  }

  /** All tasks but the subjects of MMLU and CMMLU. */
  static List<Task> single() {
    return List.of(
        choice("arc_challenge", "1.0", Kind.NORMALISED_CHOICE, Benchmarks::arc)
            .drawn(Sampling.ANY)
            .published(arcPlaces("ARC-Challenge"))
            .hub(TEST, TRAIN, DataSet.of("allenai/ai2_arc", "ARC-Challenge")),
        choice("arc_easy", "1.0", Kind.NORMALISED_CHOICE, Benchmarks::arc)
            .drawn(Sampling.ANY)
            .published(arcPlaces("ARC-Easy"))
            .hub(TEST, TRAIN, DataSet.of("allenai/ai2_arc", "ARC-Easy")),
        choice("boolq", "2.0", Kind.MULTIPLE_CHOICE, Benchmarks::boolq)
            .published(
                Place.of("BoolQ/val.jsonl", "BoolQ/train.jsonl"),
                Place.of("boolq/val.jsonl", "boolq/train.jsonl"),
                Place.of("boolq/dev.jsonl", "boolq/train.jsonl"))
            .hub(
                VALIDATION,
                TRAIN,
                DataSet.of("aps/super_glue", "boolq"),
                DataSet.of("google/boolq")),
        choice("copa", "1.0", Kind.MULTIPLE_CHOICE, Benchmarks::copa)
            .published(
                Place.of("COPA/val.jsonl", "COPA/train.jsonl"),
                Place.of("copa/val.jsonl", "copa/train.jsonl"))
            .hub(VALIDATION, TRAIN, DataSet.of("aps/super_glue", "copa")),
        choice("gsm8k", "3.0", Kind.GENERATED_ANSWER, Gsm8k::item)
            .drawn(Sampling.ANY)
            .usually(Gsm8k.SHOTS)
            .published(
                Stream.of("", "grade-school-math/")
                    .map(folder -> folder + "grade_school_math/data/")
                    .map(folder -> Place.of(folder + "test.jsonl", folder + "train.jsonl"))
                    .toArray(Place[]::new))
            .hub(TEST, TRAIN, DataSet.of("openai/gsm8k", "main")),
        choice("hellaswag", "1.0", Kind.NORMALISED_CHOICE, Benchmarks::hellaswag)
            .published(
                Place.of("hellaswag_val.jsonl", "hellaswag_train.jsonl"),
                Place.of("hellaswag/hellaswag_val.jsonl", "hellaswag/hellaswag_train.jsonl"))
            .hub(VALIDATION, TRAIN, DataSet.of("Rowan/hellaswag")),
        choice("lambada_openai", "1.0", Kind.CONTINUATION, Benchmarks::lambada)
            .drawn(Sampling.ANY)
            .published(
                Stream.of("", "lambada/", "lambada_openai/", "EleutherAI/lambada_openai/")
                    .flatMap(folder -> Stream.of(folder, folder + "data/"))
                    .map(folder -> folder + "lambada_test.jsonl")
                    .map(file -> Place.of(file, file))
                    .toArray(Place[]::new))
            .hub(TEST, TEST, DataSet.of("EleutherAI/lambada_openai")),
        choice("openbookqa", "1.0", Kind.NORMALISED_CHOICE, Benchmarks::openbookqa)
            .drawn(Sampling.ANY)
            .published(
                Place.of(
                    "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl",
                    "OpenBookQA-V1-Sep2018/Data/Main/train.jsonl"))
            .hub(TEST, TRAIN, DataSet.of("allenai/openbookqa", "main")),
        choice("piqa", "1.0", Kind.NORMALISED_CHOICE, Benchmarks::piqa)
            .published(
                labelled("piqa/valid", "piqa/train"),
                labelled("physicaliqa-train-dev/dev", "physicaliqa-train-dev/train"),
                Place.of(
                    "ybisk/piqa/plain_text/piqa-validation.parquet",
                    "ybisk/piqa/plain_text/piqa-train.parquet"),
                Place.of(
                    "piqa/plain_text/piqa-validation.parquet",
                    "piqa/plain_text/piqa-train.parquet"))
            .hub(
                VALIDATION,
                TRAIN,
                DataSet.of("baber/piqa"),
                DataSet.of("ybisk/piqa", "plain_text")),
        choice("race", "3.0", Kind.MULTIPLE_CHOICE, Benchmarks::race)
            .drawn(Sampling.ANY)
            .published(Place.of("RACE/test/high/*.txt", "RACE/test/high/*.txt"))
            .hub(TEST, TEST, DataSet.of("EleutherAI/race", "high")),
        choice("social_iqa", "0.0", Kind.MULTIPLE_CHOICE, Benchmarks::socialIqa)
            .published(
                labelled("socialiqa-train-dev/dev", "socialiqa-train-dev/train"),
                labelled("social_iqa/dev", "social_iqa/train"))
            .hub(
                VALIDATION, TRAIN, DataSet.of("lighteval/siqa"), DataSet.of("allenai/social_i_qa")),
        choice("wikitext", "2.0", Kind.TEXT, Benchmarks::wikitext)
            .hub(TEST, TEST, DataSet.of("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1")),
        choice("winogrande", "1.0", Kind.ENDING_CHOICE, Benchmarks::winogrande)
            .published(
                Place.of("winogrande_1.1/dev.jsonl", "winogrande_1.1/train_xl.jsonl"),
                Place.of("winogrande/dev.jsonl", "winogrande/train_xl.jsonl"))
            .hub(VALIDATION, TRAIN, DataSet.of("allenai/winogrande", "winogrande_xl")),
        choice("wsc273", "1.0", Kind.ENDING_CHOICE, Benchmarks::wsc273)
            .drawn(Sampling.ANY)
            .hub(
                TEST,
                TEST,
                DataSet.of("lighteval/winograd_wsc", "wsc273"),
                DataSet.of("ErnestSDavis/winograd_wsc", "wsc273")));
  }

  private static Stream<Task> mmlu() {
    return Subjects.mmlu().stream()
        .map(
            subject ->
                choice(MMLU + "_" + subject, "1.0", Kind.MULTIPLE_CHOICE, Benchmarks::mmlu)
                    .drawn(Sampling.FIRST)
                    .described(
                        "The following are multiple choice questions (with answers) about "
                            + subject.replace('_', ' ')
                            + ".\n\n")
                    .published(
                        Stream.of("mmlu", "data")
                            .map(
                                folder ->
                                    Place.of(
                                        folder + "/test/" + subject + "_test.csv",
                                        folder + "/dev/" + subject + "_dev.csv"))
                            .toArray(Place[]::new))
                    .hub(TEST, "dev", DataSet.of("cais/mmlu", subject)));
  }

  private static Stream<Task> cmmlu() {
    return Subjects.cmmlu().entrySet().stream()
        .map(
            subject ->
                choice(
                        CMMLU + "_" + subject.getKey(),
                        "1.0",
                        Kind.NORMALISED_CHOICE,
                        Benchmarks::cmmlu)
                    .drawn(Sampling.FIRST)
                    .described("以下是关于" + subject.getValue() + "的单项选择题，请直接给出正确答案的选项。\n\n")
                    .published(
                        Place.of(
                            "cmmlu/test/" + subject.getKey() + ".csv",
                            "cmmlu/dev/" + subject.getKey() + ".csv"))
                    .hub(TEST, "dev", DataSet.of("haonan-li/cmmlu", subject.getKey())));
  }

  /** The groups: averages that papers on pruning report, and those of the harness. */
  static List<Group> groups() {
    return List.of(
        new Group("qa5", QA5, false),
        new Group("qa7", and(QA5, "boolq", "openbookqa"), false),
        new Group("qa9", and(QA5, "boolq", "copa", "race", "wsc273"), false),
        new Group(Probe.GROUP, Probe.tasks().stream().map(Task::name).toList(), false),
        new Group(MMLU, mmlu().map(Task::name).toList(), true),
        new Group(CMMLU, cmmlu().map(Task::name).toList(), true));
  }

  private static List<String> and(List<String> names, String... more) {
    return Stream.concat(names.stream(), Stream.of(more)).sorted().toList();
  }

  /** A task whose items are described step by step. */
  private static Draft choice(
      String name, String version, Kind kind, Function<Document, TaskItem> format) {
    return new Draft(name, version, kind, format, Sampling.OTHERS, 0, "", List.of());
  }

  /** What is known of a task while it is described. */
  private record Draft(
      String name,
      String version,
      Kind kind,
      Function<Document, TaskItem> format,
      Sampling sampling,
      int shots,
      String description,
      List<Place> places) {
    Draft drawn(Sampling other) {
      return new Draft(name, version, kind, format, other, shots, description, places);
    }

    /** With so many examples where a user asks for no other number. */
    Draft usually(int examples) {
      return new Draft(name, version, kind, format, sampling, examples, description, places);
    }

    Draft described(String text) {
      return new Draft(name, version, kind, format, sampling, shots, text, places);
    }

    /** Where the authors' files lie. */
    Draft published(Place... authors) {
      return new Draft(name, version, kind, format, sampling, shots, description, List.of(authors));
    }

    /**
     * The task, whose items may also lie under the names of the parts of the hub's data sets.
     *
     * @param sets the data set that the harness reads, and others with the same items
     */
    Task hub(String split, String exampleSplit, DataSet... sets) {
      Stream<Place> parquet =
          Stream.of(sets)
              .flatMap(DataSet::folders)
              .flatMap(folder -> Stream.of("/%s-*.parquet", "/%s/*.parquet").map(folder::concat))
              .map(form -> Place.of(split(form, split), split(form, exampleSplit)));
      Stream<Place> named =
          Stream.of("/%s.jsonl", "/%s.parquet")
              .map(name::concat)
              .map(form -> Place.of(split(form, split), split(form, exampleSplit)));
      return new Task(
          name,
          version,
          kind,
          format,
          sampling,
          shots,
          description,
          Stream.of(places.stream(), named, parquet, Stream.of(exports(exampleSplit)))
              .flatMap(each -> each)
              .toList(),
          null,
          sets[0].measuredBy(split));
    }

    /**
     * The samples that the harness exports, which have the items in them; the name goes on with the
     * time of the export. Those of {@code laco eval --out} have no time.
     */
    private Place[] exports(String exampleSplit) {
      String examples = name + "/" + exampleSplit + ".jsonl";
      return new Place[] {
        Place.of(Documents.EXPORT + name + "_2*.jsonl", examples),
        Place.of(Documents.EXPORT + name + ".jsonl", examples)
      };
    }

    private static String split(String form, String split) {
      return String.format(Locale.ROOT, form, split);
    }
  }

  private static Place[] arcPlaces(String name) {
    return Stream.of("", name + "/", "ARC-V1-Feb2018-2/" + name + "/")
        .map(folder -> Place.of(folder + name + "-Test.jsonl", folder + name + "-Train.jsonl"))
        .toArray(Place[]::new);
  }

  /** Files of items and, beside them, of labels. */
  private static Place labelled(String items, String examples) {
    return new Place(
        items + ".jsonl", items + "-labels.lst", examples + ".jsonl", examples + "-labels.lst");
  }

  private static TaskItem arc(Document document) {
    // Published, a question is an object with stem and choices; on the hub it is a text.
    boolean published = !document.json().path(QUESTION).isTextual();
    String question = published ? document.object(QUESTION).text("stem") : document.text(QUESTION);
    return labelled(
        document,
        "Question: " + question + "\nAnswer:",
        published ? document.object(QUESTION) : document);
  }

  private static TaskItem openbookqa(Document document) {
    boolean published = document.has(QUESTION);
    return published
        ? labelled(document, document.object(QUESTION).text("stem"), document.object(QUESTION))
        : labelled(document, document.text("question_stem"), document);
  }

  /**
   * A question whose answers have labels.
   *
   * @param holder has the answers: a list of objects, or an object of two lists
   */
  private static TaskItem labelled(Document document, String context, Document holder) {
    List<String> texts;
    List<String> labels;
    if (holder.json().path(CHOICES).isArray()) {
      List<Document> choices = holder.objects(CHOICES);
      texts = choices.stream().map(choice -> choice.text("text")).toList();
      labels = choices.stream().map(choice -> choice.text(LABEL)).toList();
    } else {
      texts = holder.object(CHOICES).texts("text");
      labels = holder.object(CHOICES).texts(LABEL);
    }
    if (texts.size() != labels.size()) {
      throw holder.refuse(CHOICES, "as many labels as texts", holder.json().get(CHOICES));
    }
    return TaskItem.question(document, context, texts, document.place(ANSWER_KEY, labels));
  }

  private static TaskItem boolq(Document document) {
    // The authors call the answer "answer", SuperGLUE calls it "label".
    return TaskItem.question(
        document,
        document.text("passage") + "\nQuestion: " + document.text(QUESTION) + "?\nAnswer:",
        List.of("no", "yes"),
        document.index(document.has(ANSWER) ? ANSWER : LABEL, 0, 1));
  }

  private static TaskItem copa(Document document) {
    boolean cause = document.place(QUESTION, List.of("cause", "effect")) == 0;
    String premise = PythonText.strip(document.text("premise"));
    // The premise without its full stop.
    String context =
        premise.substring(0, Math.max(0, premise.length() - 1))
            + (cause ? " because" : " therefore");
    List<String> choices =
        Stream.of("choice1", "choice2").map(field -> " " + lowered(document, field)).toList();
    return TaskItem.question(document, context, choices, document.index(LABEL, 0, 1));
  }

  private static String lowered(Document document, String field) {
    String choice = document.text(field);
    if (choice.isEmpty()) {
      throw document.refuse(field, "text that is not empty", document.json().get(field));
    }
    return choice.substring(0, 1).toLowerCase(Locale.ROOT) + choice.substring(1);
  }

  private static TaskItem hellaswag(Document document) {
    String context =
        document.text("activity_label")
            + ": "
            + document.text("ctx_a")
            + " "
            + PythonText.capitalize(document.text("ctx_b"));
    List<String> endings =
        document.texts("endings").stream().map(Benchmarks::withoutBrackets).toList();
    return TaskItem.question(
        document, withoutBrackets(context), endings, document.index(LABEL, 0, endings.size() - 1));
  }

  private static String withoutBrackets(String text) {
    String titled = PythonText.strip(text).replace(" [title]", ". ");
    return BRACKETS.matcher(titled).replaceAll("").replace("  ", " ");
  }

  private static TaskItem lambada(Document document) {
    String text = document.text("text");
    int last = text.lastIndexOf(' ');
    return TaskItem.continuation(
        document, text.substring(0, Math.max(0, last)), " " + text.substring(last + 1));
  }

  private static TaskItem mmlu(Document document) {
    // The authors' tables have the answers in columns and name the right one by its letter.
    boolean table = document.has(LETTERS.getFirst());
    List<String> choices =
        table ? LETTERS.stream().map(document::text).toList() : document.texts(CHOICES);
    if (choices.size() != LETTERS.size()) {
      throw document.refuse(CHOICES, "four answers", document.json().get(CHOICES));
    }
    return lettered(
        document,
        document.text(QUESTION),
        choices,
        "\nAnswer:",
        table ? document.place(ANSWER, LETTERS) : document.index(ANSWER, 0, 3));
  }

  private static TaskItem cmmlu(Document document) {
    return lettered(
        document,
        document.text("Question"),
        LETTERS.stream().map(document::text).toList(),
        "\n答案：",
        document.place("Answer", LETTERS));
  }

  private static TaskItem lettered(
      Document document, String question, List<String> choices, String ending, int gold) {
    StringBuilder context = new StringBuilder(PythonText.strip(question));
    for (int i = 0; i < LETTERS.size(); i++) {
      context.append('\n').append(LETTERS.get(i)).append(". ").append(choices.get(i));
    }
    return TaskItem.question(document, context + ending, LETTERS, gold);
  }

  private static TaskItem piqa(Document document) {
    return TaskItem.question(
        document,
        "Question: " + document.text("goal") + "\nAnswer:",
        List.of(document.text("sol1"), document.text("sol2")),
        document.index(LABEL, 0, 1));
  }

  /** An article with several questions, of which the last is asked and the others are answered. */
  private static TaskItem race(Document document) {
    StringBuilder context = new StringBuilder("Article: " + document.text("article") + "\n\n");
    List<Document> problems = raceProblems(document);
    for (Document problem : problems.subList(0, problems.size() - 1)) {
      String question = problem.text(QUESTION);
      String answer = problem.texts("options").get(raceAnswer(problem));
      if (question.endsWith("  _  .")) {
        context.append(question, 0, question.length() - 5).append(answer).append('\n');
      } else {
        context.append("Question: ").append(question).append('\n');
        context.append("Answer: ").append(answer).append('\n');
      }
    }
    Document asked = problems.getLast();
    context.append(asked.text(QUESTION));
    return TaskItem.question(
        document, context.toString(), asked.texts("options"), raceAnswer(asked));
  }

  /**
   * The questions of an article, each with its answers. The hub has them as the text that Python
   * prints of them; the authors have a list each of questions, of answers, and of right ones.
   */
  private static List<Document> raceProblems(Document document) {
    if (!document.has("questions")) {
      return document.objectsOrPython("problems");
    }
    List<String> questions = document.texts("questions");
    List<String> answers = document.texts("answers");
    JsonNode options = document.json().path("options");
    if (answers.size() != questions.size() || options.size() != questions.size()) {
      throw document.refuse(
          "answers", "as many answers and options as questions", document.json().get("answers"));
    }
    List<Document> problems = new ArrayList<>();
    for (int i = 0; i < questions.size(); i++) {
      ObjectNode problem =
          document.json().objectNode().put(QUESTION, questions.get(i)).put(ANSWER, answers.get(i));
      problem.set("options", options.get(i));
      problems.add(
          new Document(
              String.format(Locale.ROOT, "%s: question %d", document.where(), i + 1), problem));
    }
    return problems;
  }

  private static int raceAnswer(Document problem) {
    if (problem.texts("options").size() != LETTERS.size()) {
      throw problem.refuse("options", "four answers", problem.json().get("options"));
    }
    return problem.place(ANSWER, LETTERS);
  }

  private static TaskItem socialIqa(Document document) {
    return TaskItem.question(
        document,
        "Q: " + document.text("context") + " " + document.text(QUESTION) + "\nA:",
        Stream.of("answerA", "answerB", "answerC").map(document::text).toList(),
        document.index(LABEL, 1, 3) - 1);
  }

  private static TaskItem wikitext(Document document) {
    return TaskItem.text(document, WikiText.detokenized(document.text(PAGE)));
  }

  private static TaskItem winogrande(Document document) {
    String sentence = document.text(SENTENCE);
    int blank = sentence.indexOf(BLANK);
    if (blank < 0) {
      throw document.refuse(SENTENCE, "a sentence with _", document.json().get(SENTENCE));
    }
    return TaskItem.ending(
        document,
        Stream.of("option1", "option2")
            .map(option -> sentence.substring(0, blank) + document.text(option))
            .toList(),
        PythonText.strip(sentence.substring(blank + 1)),
        document.index(ANSWER, 1, 2) - 1);
  }

  private static TaskItem wsc273(Document document) {
    String text = document.text("text").replace("  ", " ");
    String pronoun = document.text("pronoun");
    int place = document.index("pronoun_loc", 0, text.length());
    if (!text.startsWith(pronoun, place)) {
      throw document.refuse(
          "pronoun_loc",
          "the place of the pronoun in the text",
          document.json().get("pronoun_loc"));
    }
    boolean startsSentence = place >= 2 && text.charAt(place - 2) == '.';
    return TaskItem.ending(
        document,
        document.texts("options").stream()
            .map(option -> text.substring(0, place) + option(option, pronoun, startsSentence))
            .toList(),
        text.substring(place + pronoun.length()),
        document.index(LABEL, 0, 1));
  }

  /** An option in the form in which it can stand in the place of the pronoun. */
  private static String option(String option, String pronoun, boolean startsSentence) {
    List<String> possessive = List.of("my", "his", "her", "our", "their");
    List<String> first =
        List.of("A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their");
    // Exported samples of the harness have the form already.
    String form =
        possessive.contains(pronoun.toLowerCase(Locale.ROOT)) && !option.endsWith("'s")
            ? option + "'s"
            : option;
    String word = PythonText.strip(form).split("\\s+", 2)[0];
    return !startsSentence && first.contains(word)
        ? form.replace(word, word.toLowerCase(Locale.ROOT))
        : form;
  }
}
