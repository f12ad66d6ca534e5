package dev.laco.evaluate;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.laco.evaluate.Task.Kind;
import dev.laco.evaluate.Task.Sampling;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.LongPredicate;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Items of a skill that are made by a rule, so that a model cannot have seen them and no file is
 * needed. Each prompt has solved examples in front of its question; an answer is right if the model
 * would write it, token for token, as the most likely text. The items are the same on every machine
 * and in every run.
 *
 * @param name the name of the task
 * @param kind how an answer is scored
 * @param skill what is probed, for people
 * @param examples the number of solved examples in front of each question
 * @param rule makes a question and its answer
 */
record Probe(String name, Kind kind, String skill, int examples, Function<Random, Solved> rule)
    implements Items {
  /** The name of the group of all probes. */
  static final String GROUP = "probes";

  private static final String VERSION = "1.0";
  private static final int ITEMS = 100;
  private static final long SEED = 1234;

  private static final String CONTEXT = "context";
  private static final String ANSWER = "answer";

  private static final int EXAMPLES = 4;
  private static final int MOST_DIGITS = 4;
  private static final int LIST = 5;
  private static final int FACTS = 30;
  private static final int MOST_COUNTED = 9;
  private static final int MOST_OPEN = 4;

  private static final List<String> OPENING = List.of("(", "[", "{");
  private static final List<String> CLOSING = List.of(")", "]", "}");

  private static final List<String> WORDS =
      List.of(
          "apple",
          "bird",
          "boat",
          "book",
          "bread",
          "chair",
          "cloud",
          "door",
          "fish",
          "flower",
          "forest",
          "garden",
          "glass",
          "horse",
          "house",
          "island",
          "king",
          "lamp",
          "leaf",
          "milk",
          "moon",
          "mountain",
          "paper",
          "rain",
          "river",
          "road",
          "sand",
          "school",
          "ship",
          "snow",
          "song",
          "star",
          "stone",
          "street",
          "sun",
          "table",
          "tree",
          "village",
          "water",
          "window");

  private static final List<String> NAMES =
      List.of(
          "Adam", "Alice", "Anna", "Ben", "Carl", "Clara", "Daniel", "David", "Diana", "Emma",
          "Eric", "Eva", "Frank", "Grace", "Helen", "Henry", "Ida", "Jack", "James", "Jane", "John",
          "Julia", "Karen", "Laura", "Leo", "Linda", "Lucy", "Maria", "Mark", "Martin", "Mary",
          "Nina", "Oscar", "Paul", "Peter", "Robert", "Rose", "Sam", "Sarah", "Tom");

  /** Of two names and two words, of which each text takes what it needs. */
  private static final List<String> BEGINNINGS =
      List.of(
          "One morning %1$s found an old %3$s beside the %4$s, and",
          "%1$s and %2$s had lived near the %3$s for many years when",
          "Dear %1$s,\n\nThank you for your letter about the %3$s. I told %2$s that",
          "This chapter explains how the %3$s and the %4$s were described in earlier times. First,",
          "\"Where is the %3$s?\" asked %1$s. %2$s looked at the %4$s and said");

  /** A question and its answer; the answer of a text that is written on is empty. */
  record Solved(String question, String answer) {}

  /** The tasks of all probes. */
  static List<Task> tasks() {
    return probes().map(Probe::task).toList();
  }

  private static Stream<Probe> probes() {
    return Stream.concat(
        IntStream.rangeClosed(1, MOST_DIGITS).mapToObj(Probe::arithmetic),
        Stream.of(
            answered("laco_brackets", "closing open brackets", EXAMPLES, Probe::brackets),
            answered("laco_copy", "copying a list of words", EXAMPLES, Probe::copy),
            answered("laco_count", "counting a repeated word", EXAMPLES, Probe::count),
            answered("laco_needle", "finding one fact among many", 0, Probe::needle),
            new Probe(
                "laco_repetition",
                Kind.REPETITION,
                "writing on without repetition",
                0,
                Probe::beginning),
            answered("laco_sort", "sorting numbers", EXAMPLES, Probe::sort)));
  }

  private static Probe answered(
      String name, String skill, int examples, Function<Random, Solved> rule) {
    return new Probe(name, Kind.CONTINUATION, skill, examples, rule);
  }

  private Task task() {
    return new Task(
        name, VERSION, kind, this::item, Sampling.FIRST, examples, "", List.of(), this, null);
  }

  private TaskItem item(Document document) {
    return kind == Kind.REPETITION
        ? TaskItem.generation(document, document.text(CONTEXT), "")
        : TaskItem.continuation(document, document.text(CONTEXT), " " + document.text(ANSWER));
  }

  @Override
  public long count() {
    return ITEMS;
  }

  @Override
  public long read(long limit, LongPredicate wanted, Consumer<Document> each) {
    Random random = new Random(SEED + name.hashCode());
    for (int item = 0; item < ITEMS; item++) {
      List<Solved> solved = distinct(random);
      if (item < limit && wanted.test(item)) {
        each.accept(document(item, solved));
      }
    }
    return ITEMS;
  }

  /** The examples, and last the question. */
  private List<Solved> distinct(Random random) {
    List<Solved> solved = new ArrayList<>();
    while (solved.size() <= examples) {
      Solved next = rule.apply(random);
      if (!solved.contains(next)) {
        solved.add(next);
      }
    }
    return solved;
  }

  private Document document(int item, List<Solved> solved) {
    Solved asked = solved.getLast();
    String before =
        solved.subList(0, solved.size() - 1).stream()
            .map(one -> one.question + " " + one.answer + "\n")
            .collect(Collectors.joining());
    return new Document(
        String.format(Locale.ROOT, "item %d of %s", item + 1, name),
        JsonNodeFactory.instance
            .objectNode()
            .put(CONTEXT, before + asked.question)
            .put(ANSWER, asked.answer));
  }

  @Override
  public String source() {
    return "made by rule: " + skill;
  }

  /** Sums and differences of two numbers of so many digits. */
  private static Probe arithmetic(int digits) {
    int lowest = digits == 1 ? 0 : (int) Math.pow(10, digits - 1);
    int highest = (int) Math.pow(10, digits);
    return answered(
        "laco_arithmetic_" + digits,
        "sums and differences of numbers of " + digits + (digits == 1 ? " digit" : " digits"),
        EXAMPLES,
        random -> {
          int a = between(lowest, highest, random);
          int b = between(lowest, highest, random);
          return random.nextBoolean()
              ? new Solved(a + " + " + b + " =", Integer.toString(a + b))
              : new Solved(
                  Math.max(a, b) + " - " + Math.min(a, b) + " =",
                  Integer.toString(Math.abs(a - b)));
        });
  }

  /** {@code ( [ ] { -> } )}: what closes the brackets that are still open. */
  private static Solved brackets(Random random) {
    List<Integer> open = new ArrayList<>();
    StringBuilder text = new StringBuilder();
    int wanted = between(2, MOST_OPEN + 1, random);
    while (open.size() < wanted) {
      if (!open.isEmpty() && random.nextInt(OPENING.size()) == 0) {
        text.append(CLOSING.get(open.removeLast())).append(' ');
      } else {
        open.add(random.nextInt(OPENING.size()));
        text.append(OPENING.get(open.getLast())).append(' ');
      }
    }
    return new Solved(
        text + "->", open.reversed().stream().map(CLOSING::get).collect(Collectors.joining(" ")));
  }

  private static Solved copy(Random random) {
    String words = String.join(" ", drawn(WORDS, LIST, random));
    return new Solved("copy: " + words + " ->", words);
  }

  private static Solved count(Random random) {
    int count = between(1, MOST_COUNTED + 1, random);
    String word = WORDS.get(random.nextInt(WORDS.size()));
    return new Solved(
        "count: " + String.join(" ", Collections.nCopies(count, word)) + " ->",
        Integer.toString(count));
  }

  private static Solved needle(Random random) {
    List<String> names = drawn(NAMES, FACTS, random);
    List<String> facts = new ArrayList<>();
    List<String> codes = new ArrayList<>();
    for (String name : names) {
      codes.add(Integer.toString(between(1000, 10_000, random)));
      facts.add("The code of " + name + " is " + codes.getLast() + ".\n");
    }
    int asked = random.nextInt(FACTS);
    return new Solved(
        String.join("", facts) + "\nThe code of " + names.get(asked) + " is", codes.get(asked));
  }

  /** The beginning of a text, which a model writes on. */
  private static Solved beginning(Random random) {
    List<String> names = drawn(NAMES, 2, random);
    List<String> words = drawn(WORDS, 2, random);
    return new Solved(
        String.format(
            Locale.ROOT,
            BEGINNINGS.get(random.nextInt(BEGINNINGS.size())),
            names.getFirst(),
            names.getLast(),
            words.getFirst(),
            words.getLast()),
        "");
  }

  private static Solved sort(Random random) {
    List<Integer> numbers = new ArrayList<>();
    while (numbers.size() < LIST) {
      int number = between(10, 100, random);
      if (!numbers.contains(number)) {
        numbers.add(number);
      }
    }
    return new Solved(
        "sort: " + joined(numbers) + " ->", joined(numbers.stream().sorted().toList()));
  }

  private static String joined(List<Integer> numbers) {
    return numbers.stream()
        .map(number -> Integer.toString(number))
        .collect(Collectors.joining(" "));
  }

  /**
   * A number from {@code lowest} to below {@code end}, by the one method whose algorithm is fixed.
   */
  private static int between(int lowest, int end, Random random) {
    return lowest + random.nextInt(end - lowest);
  }

  private static List<String> drawn(List<String> from, int count, Random random) {
    List<String> shuffled = new ArrayList<>(from);
    Collections.shuffle(shuffled, random);
    return shuffled.subList(0, count);
  }
}
