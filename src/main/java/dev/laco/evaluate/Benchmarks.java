package dev.laco.evaluate;

import dev.laco.evaluate.Task.Kind;
import dev.laco.evaluate.Task.Place;
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
  private static final String LABEL = "label";
  private static final String QUESTION = "question";
  private static final String CHOICES = "choices";
  private static final String ANSWER_KEY = "answerKey";
  private static final String SENTENCE = "sentence";
  private static final char BLANK = '_';

  /** What HellaSwag's pages of WikiHow have left in brackets. */
  private static final Pattern BRACKETS = Pattern.compile("\\[.*?\\]", Pattern.UNIX_LINES);

  private static final List<Task> ALL =
      List.of(
          task(
              "arc_challenge",
              "1.0",
              Kind.NORMALISED_CHOICE,
              Benchmarks::arc,
              TEST,
              arcPlaces("ARC-Challenge")),
          task(
              "arc_easy",
              "1.0",
              Kind.NORMALISED_CHOICE,
              Benchmarks::arc,
              TEST,
              arcPlaces("ARC-Easy")),
          task(
              "boolq",
              "2.0",
              Kind.MULTIPLE_CHOICE,
              Benchmarks::boolq,
              VALIDATION,
              Place.of("BoolQ/val.jsonl"),
              Place.of("boolq/val.jsonl"),
              Place.of("boolq/dev.jsonl")),
          task(
              "copa",
              "1.0",
              Kind.MULTIPLE_CHOICE,
              Benchmarks::copa,
              VALIDATION,
              Place.of("COPA/val.jsonl"),
              Place.of("copa/val.jsonl")),
          task(
              "hellaswag",
              "1.0",
              Kind.NORMALISED_CHOICE,
              Benchmarks::hellaswag,
              VALIDATION,
              Place.of("hellaswag_val.jsonl"),
              Place.of("hellaswag/hellaswag_val.jsonl")),
          task(
              "lambada_openai",
              "1.0",
              Kind.CONTINUATION,
              Benchmarks::lambada,
              TEST,
              Place.of("lambada_test.jsonl"),
              Place.of("lambada/lambada_test.jsonl"),
              Place.of("lambada_openai/lambada_test.jsonl")),
          task(
              "openbookqa",
              "1.0",
              Kind.NORMALISED_CHOICE,
              Benchmarks::openbookqa,
              TEST,
              Place.of("OpenBookQA-V1-Sep2018/Data/Main/test.jsonl")),
          task(
              "piqa",
              "1.0",
              Kind.NORMALISED_CHOICE,
              Benchmarks::piqa,
              VALIDATION,
              new Place("piqa/valid.jsonl", "piqa/valid-labels.lst"),
              new Place("physicaliqa-train-dev/dev.jsonl", "physicaliqa-train-dev/dev-labels.lst")),
          task("race", "3.0", Kind.MULTIPLE_CHOICE, Benchmarks::race, TEST),
          task(
              "social_iqa",
              "0.0",
              Kind.MULTIPLE_CHOICE,
              Benchmarks::socialIqa,
              VALIDATION,
              new Place("socialiqa-train-dev/dev.jsonl", "socialiqa-train-dev/dev-labels.lst"),
              new Place("social_iqa/dev.jsonl", "social_iqa/dev-labels.lst")),
          task(
              "winogrande",
              "1.0",
              Kind.MULTIPLE_CHOICE,
              Benchmarks::winogrande,
              VALIDATION,
              Place.of("winogrande_1.1/dev.jsonl"),
              Place.of("winogrande/dev.jsonl")),
          task("wsc273", "1.0", Kind.MULTIPLE_CHOICE, Benchmarks::wsc273, TEST));

  private Benchmarks() {}

  /** All tasks. */
  static List<Task> all() {
    return ALL;
  }

  /**
   * A task.
   *
   * @param split the part of the data set that is measured, as the hub calls it
   * @param published where the authors' files lie
   */
  private static Task task(
      String name,
      String version,
      Kind kind,
      Function<Document, TaskItem> format,
      String split,
      Place... published) {
    Place hub = Place.of(name + "/" + split + ".jsonl");
    return new Task(
        name, version, kind, format, Stream.concat(Stream.of(published), Stream.of(hub)).toList());
  }

  private static Place[] arcPlaces(String name) {
    return Stream.of("", name + "/", "ARC-V1-Feb2018-2/" + name + "/")
        .map(folder -> Place.of(folder + name + "-Test.jsonl"))
        .toArray(Place[]::new);
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
        document.index(document.has("answer") ? "answer" : LABEL, 0, 1));
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
    List<Document> problems = document.objects("problems");
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

  private static int raceAnswer(Document problem) {
    List<String> letters = List.of("A", "B", "C", "D");
    if (problem.texts("options").size() != letters.size()) {
      throw problem.refuse("options", "four answers", problem.json().get("options"));
    }
    return problem.place("answer", letters);
  }

  private static TaskItem socialIqa(Document document) {
    return TaskItem.question(
        document,
        "Q: " + document.text("context") + " " + document.text(QUESTION) + "\nA:",
        Stream.of("answerA", "answerB", "answerC").map(document::text).toList(),
        document.index(LABEL, 1, 3) - 1);
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
        document.index("answer", 1, 2) - 1);
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
    String form = possessive.contains(pronoun.toLowerCase(Locale.ROOT)) ? option + "'s" : option;
    String word = PythonText.strip(form).split("\\s+", 2)[0];
    return !startsSentence && first.contains(word)
        ? form.replace(word, word.toLowerCase(Locale.ROOT))
        : form;
  }
}
