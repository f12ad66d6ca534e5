package dev.laco;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.Set;
import java.util.function.LongSupplier;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/**
 * How far a job has come, and how long the rest takes. A job is a sequence of stages. The seconds
 * of a stage may be expected beforehand. While the job runs, the expected seconds of the remaining
 * work are multiplied by the ratio of the seconds taken so far to those that were expected for that
 * work.
 */
public final class JobProgress {
  /**
   * The share of the expected seconds that counts as done as expected from the beginning, so that
   * the first seconds do not change the estimate much.
   */
  private static final double PRIOR = 0.02;

  /** The most of a stage's rest that is shown as done while the stage reports nothing. */
  private static final double UNKNOWN = 0.9;

  /** Seconds of a stage that was not expected; only its own share is known. */
  private static final double UNEXPECTED = 1;

  private static final int STEPS = 1000;

  /** The shortest job, in seconds, whose duration is told beforehand. */
  private static final double WORTH_SAYING = 2;

  private final LongSupplier clock;
  private final StageListener listener;
  private final Map<String, Stage> stages = new LinkedHashMap<>();
  private volatile long start;
  private double prior;

  /** Seconds since the job's begin at which a stage last reported. */
  private double known;

  /**
   * The largest share of the job that was shown; a smaller one is shown only after a further stage
   * was expected.
   */
  private double shown;

  private @Nullable Stage current;

  /** The stage that takes what all others leave of {@link #limit}; null where no stage does. */
  private @Nullable Stage filling;

  /** Seconds that the whole job may take, where a stage fills them. */
  private double limit;

  /** Is told of the stages of a job, on the thread that does the work. */
  public interface StageListener {
    /** A stage begins. */
    void began(String stage);

    /** The stage is over. */
    void ended();

    /** A listener that ignores everything. */
    StageListener NONE =
        new StageListener() {
          @Override
          public void began(String stage) {}

          @Override
          public void ended() {}
        };
  }

  /** A job without expected stages, which begins now. */
  public JobProgress(StageListener listener) {
    this(System::nanoTime, listener);
  }

  /**
   * A job whose time a clock tells, which begins now.
   *
   * @param clock nanoseconds, like {@link System#nanoTime}
   */
  public JobProgress(LongSupplier clock, StageListener listener) {
    this.clock = clock;
    this.listener = listener;
    this.start = clock.getAsLong();
  }

  /** Says that the job begins now, and not when this object was made. */
  public void startClock() {
    start = clock.getAsLong();
  }

  /** A part of a job. Closing it ends the stage. */
  public final class Stage implements AutoCloseable {
    private final String name;
    private final double expected;
    private double share;
    private long advanced;
    private String note = "";

    private Stage(String name, double expected) {
      this.name = name;
      this.expected = expected;
    }

    /**
     * Says that {@code done} of {@code total} units of work are done. A smaller share than before
     * is ignored.
     */
    public void update(long done, long total) {
      synchronized (JobProgress.this) {
        share = Math.clamp((double) done / Math.max(1, total), share, 1);
        known = seconds();
      }
    }

    /** Says that {@code more} further units of {@code total} are done. */
    public void advance(long more, long total) {
      synchronized (JobProgress.this) {
        advanced += more;
        update(advanced, total);
      }
    }

    /** Says which share of the stage is done, 0 to 1; it is rounded to a thousandth. */
    public void updateShare(double done) {
      update(Math.round(done * STEPS), STEPS);
    }

    /** Shows a few words on what the stage has reached. */
    public void note(String text) {
      synchronized (JobProgress.this) {
        note = text;
      }
    }

    /** The part of the expected seconds that is done. */
    private double done() {
      return expected * share;
    }

    @Override
    public void close() {
      synchronized (JobProgress.this) {
        if (current == this) {
          share = 1;
          known = seconds();
          current = null;
        }
      }
      listener.ended();
    }
  }

  /**
   * Expects a stage that takes {@code seconds}. Stages are expected in the order in which they run.
   */
  public synchronized void expect(String stage, double seconds) {
    if (stages.put(stage, new Stage(stage, seconds)) == null) {
      shown = 0;
    }
    prior = PRIOR * total(any -> any.expected);
  }

  /**
   * Expects a stage that takes what all others leave of the {@code limit} seconds of the whole job.
   * While others take longer than expected, that stage takes less, and the job ends as before.
   */
  public synchronized void expectRest(String stage, double limit) {
    expect(stage, Math.max(0, limit - expectedBeside(stage)));
    this.filling = stages.get(stage);
    this.limit = limit;
  }

  /** Begins a stage, whether it was expected or not, and ends the one before. */
  public Stage begin(String stage) {
    Stage begun;
    synchronized (this) {
      if (current != null) {
        current.share = 1;
      }
      known = seconds();
      begun = stages.computeIfAbsent(stage, name -> new Stage(name, UNEXPECTED));
      current = begun;
    }
    listener.began(stage);
    return begun;
  }

  /** The progress at this moment. */
  public synchronized State state() {
    String stage = current == null ? "" : current.name;
    String note = current == null ? "" : current.note;
    double expected = total(any -> any.expected);
    double done = total(Stage::done);
    if (done + prior == 0) {
      return new State(stage, 0, OptionalDouble.empty(), note);
    }
    // The work since the last report is taken to go on at this pace.
    double pace = pace();
    double rest = expected - done;
    double since =
        Math.min(UNKNOWN * rest, (seconds() - known) / Math.max(pace, Double.MIN_NORMAL));
    double left = pace * (rest - since);
    double share = (done + since) / expected;
    if (filling != null && filling.share < 1) {
      double now = seconds();
      left = Math.max(limit - now, leftBeside(filling.name));
      share = now / (now + left);
    }
    shown = Math.max(shown, share);
    return new State(stage, shown, OptionalDouble.of(left), note);
  }

  /** The stages that were expected, in their order, with the seconds of each. */
  public synchronized Map<String, Double> expected() {
    Map<String, Double> seconds = new LinkedHashMap<>();
    stages.values().forEach(stage -> seconds.put(stage.name, stage.expected));
    return seconds;
  }

  /** The seconds that were expected of all stages but one. */
  public synchronized double expectedBeside(String stage) {
    return total(any -> any.name.equals(stage) ? 0 : any.expected);
  }

  /** The seconds that all but these stages still take, as {@link State#left} tells those of all. */
  public synchronized double leftBeside(String... stages) {
    return pace() * expectedLeftBeside(Set.of(stages));
  }

  /**
   * The same, but not less than was expected: a stage that was quicker than expected does not make
   * later ones quicker.
   */
  public synchronized double mostLeftBeside(String stage) {
    return Math.max(1, pace()) * expectedLeftBeside(Set.of(stage));
  }

  private double expectedLeftBeside(Set<String> stages) {
    return total(any -> stages.contains(any.name) ? 0 : any.expected - any.done());
  }

  /** Seconds taken for each second expected. */
  private double pace() {
    double seen = total(Stage::done) + prior;
    return seen == 0 ? 1 : (known + prior) / seen;
  }

  private double total(ToDoubleFunction<Stage> value) {
    return stages.values().stream().mapToDouble(value).sum();
  }

  /** Seconds since the job began. */
  public double seconds() {
    return (clock.getAsLong() - start) / 1e9;
  }

  /**
   * The progress of a job at one moment.
   *
   * @param stage the name of the stage that runs; empty between two stages
   * @param share the share of the whole job that is done, 0 to 1
   * @param left the seconds that the rest takes; empty where nothing is known yet
   * @param note a few words on what the stage has reached; may be empty
   */
  public record State(String stage, double share, OptionalDouble left, String note) {
    private static final int BAR = 20;

    /** The progress as a line: {@code search: 42 % of the job, about 3 minutes left}. */
    public String line() {
      return String.format(Locale.ROOT, "%s: %s of the job%s", stage, percent(), timeLeft());
    }

    /**
     * The progress as a bar of at most {@code columns} characters: {@code search [====> ] 42 %,
     * about 3 minutes left; 12 layers}.
     */
    public String bar(int columns) {
      int full = (int) (share * BAR);
      String text =
          String.format(
              Locale.ROOT,
              "%s [%s%s%s] %s%s%s",
              stage,
              "=".repeat(full),
              full < BAR ? ">" : "",
              " ".repeat(Math.max(0, BAR - full - 1)),
              percent(),
              timeLeft(),
              note.isEmpty() ? "" : "; " + note);
      return text.substring(0, Math.min(text.length(), columns));
    }

    private String percent() {
      // A job that is not over is never shown as 100 %.
      return String.format(Locale.ROOT, "%d %%", (int) Math.min(99, 100 * share));
    }

    private String timeLeft() {
      return left.isPresent() ? ", about " + about(left.getAsDouble()) + " left" : "";
    }
  }

  /**
   * How long the expected stages take: {@code about 12 minutes: search 3, choice 2, fit 6}. Empty
   * for a job of less than two seconds.
   */
  public synchronized Optional<String> expectation() {
    double all = total(stage -> stage.expected);
    if (all < WORTH_SAYING) {
      return Optional.empty();
    }
    Unit unit = Unit.of(all);
    List<String> parts = new ArrayList<>();
    for (Stage stage : stages.values()) {
      if (stage.expected >= all / 20) {
        parts.add(stage.name + " " + unit.number(stage.expected));
      }
    }
    return Optional.of(
        String.format(Locale.ROOT, "about %s: %s", about(all), String.join(", ", parts)));
  }

  /** A duration in round numbers: {@code 40 seconds}, {@code 12 minutes}, {@code 3.5 hours}. */
  public static String about(double seconds) {
    Unit unit = Unit.of(seconds);
    String number = unit.number(seconds);
    return number + " " + (number.equals("1") ? unit.one : unit.one + "s");
  }

  /** A duration in two units: {@code 40 s}, {@code 11 min 40 s}, {@code 3 h 12 min}. */
  public static String exactly(double seconds) {
    long whole = Math.round(seconds);
    if (whole < 60) {
      return whole + " s";
    }
    return whole < 3600
        ? String.format(Locale.ROOT, "%d min %d s", whole / 60, whole % 60)
        : String.format(Locale.ROOT, "%d h %d min", whole / 3600, whole % 3600 / 60);
  }

  /** The units in which a duration is told. */
  private enum Unit {
    SECOND("second", 1),
    MINUTE("minute", 60),
    HOUR("hour", 3600);

    private static final int MOST = 100;

    final String one;
    private final double seconds;

    Unit(String one, double seconds) {
      this.one = one;
      this.seconds = seconds;
    }

    static Unit of(double seconds) {
      return seconds < MOST ? SECOND : seconds < MOST * MINUTE.seconds ? MINUTE : HOUR;
    }

    String number(double time) {
      double number = time / seconds;
      return this == HOUR
          ? String.format(Locale.ROOT, "%.1f", number)
          : Long.toString(Math.max(1, Math.round(number)));
    }
  }
}
