package dev.laco.heal;

import dev.laco.JobProgress;
import dev.laco.Seconds;
import dev.laco.Setting;
import dev.laco.model.NewWeights;
import dev.laco.report.RateTrial;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingReport;
import dev.laco.report.TrainingStart;
import dev.laco.report.TrainingStep;
import dev.laco.training.Distillation;
import dev.laco.training.DistillationSettings;
import dev.laco.training.Student;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.OptionalDouble;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** One training of a {@link HealStage}, which shares the time that is given with its samples. */
final class HealRun {
  /** The share of the time that is left that training is planned for: machines are not steady. */
  private static final double MARGIN = 0.97;

  /** Of what later stages are expected to take, what a training leaves them of a time. */
  private static final double RESERVE = 1.25;

  private final HealStage stage;
  private final JobProgress job;
  private final RunningModel original;
  private final Student student;
  private final @Nullable Double within;
  private final Distillation.Place place;
  private final HealStage.Listener listener;
  private final @Nullable HealState state;
  private final DistillationSettings how;

  /** As for {@link HealStage#run}. */
  HealRun(
      HealStage stage,
      JobProgress job,
      RunningModel original,
      Student student,
      @Nullable Double within,
      Distillation.Place place,
      HealStage.Listener listener,
      @Nullable HealState state) {
    this.stage = stage;
    this.job = job;
    this.original = original;
    this.student = student;
    this.within = within;
    this.place = place;
    this.listener = listener;
    this.state = state;
    this.how = stage.how(original.backend(), original.config(), trained());
  }

  private int trained() {
    return student.layers().depth() - student.first();
  }

  HealStage.Outcome run() {
    long begin = System.nanoTime();
    try (JobProgress.Stage progress = job.begin(HealStage.NAME);
        HealState.@Nullable Kept kept = state == null ? null : state.read().orElse(null)) {
      return kept == null
          ? begin(progress, new Clock(begin, 0))
          : resume(progress, new Clock(begin, kept.seconds()), kept);
    }
  }

  /**
   * The time that a training takes.
   *
   * @param begin a {@link System#nanoTime}
   * @param before seconds that it took before it was interrupted
   */
  private record Clock(long begin, double before) {
    double seconds() {
      return before + Seconds.since(begin);
    }
  }

  /** The seconds of the time that are left to the stage. */
  private double left() {
    return Objects.requireNonNull(within)
        - job.seconds()
        - RESERVE * job.mostLeftBeside(HealStage.NAME);
  }

  private HealStage.Outcome begin(JobProgress.Stage progress, Clock clock) {
    Distillation.Pace pace;
    TeacherSamples.Wanted wanted;
    try (Distillation training = distillation(stage)) {
      pace =
          within == null
              ? null
              : training.pace(stage.settings().rate() != null || stage.samples() != null);
      wanted = wanted(pace);
      if (wanted.tokens(OptionalDouble.empty()) == 0) {
        return train(stage, training, pace, progress, clock);
      }
    }
    HealStage longer = drawn(wanted, progress);
    try (Distillation training = distillation(longer)) {
      return train(longer, training, pace, progress, clock);
    }
  }

  /** The samples that the time that is left is worth; none where no time is given. */
  private TeacherSamples.Wanted wanted(Distillation.@Nullable Pace pace) {
    if (pace == null || stage.samples() == null) {
      return _ -> 0;
    }
    double seconds = left();
    long text = stage.parts().tokens();
    return drawn ->
        TeacherSamples.worth(
            original.backend(), original.config(), seconds, text, pace.token(), drawn);
  }

  private HealStage.Outcome resume(JobProgress.Stage progress, Clock clock, HealState.Kept kept) {
    // A training that was interrupted goes on to what was planned.
    TrainingStart start = kept.start();
    boolean drew = stage.samples() != null && start.samples() > 0;
    HealStage longer = drew ? drawn(_ -> start.samples(), progress) : stage;
    try (Distillation training = distillation(longer)) {
      Distillation.Reached reached = kept.reached();
      listener.told(new HealEvent.Resumed(start, reached.steps().size()));
      Telling telling = new Telling(progress, start, training, clock, 0);
      training.restore(reached, kept::tensor, telling);
      // A file that is open takes room on the disk once it is deleted, too.
      kept.close();
      return outcome(
          longer, start, training.resume(reached, start.tokens(), start.rate(), telling), clock);
    }
  }

  private Distillation distillation(HealStage of) {
    return new Distillation(original, student, of.parts(), how, place);
  }

  private HealStage drawn(TeacherSamples.Wanted wanted, JobProgress.Stage progress) {
    return stage.drawn(
        original.original(),
        wanted,
        (tokens, of) ->
            progress.note(
                String.format(Locale.ROOT, "the original writes %,d of %,d tokens", tokens, of)),
        listener::requireWanted);
  }

  /**
   * Trains from the beginning.
   *
   * @param of the stage, with all of its text
   * @param pace null where no time is given
   */
  private HealStage.Outcome train(
      HealStage of,
      Distillation training,
      Distillation.@Nullable Pace pace,
      JobProgress.Stage progress,
      Clock clock) {
    TrainingStart start = start(of, training, pace);
    listener.told(new HealEvent.Started(start));
    // Another step must leave time for the measurement at the end.
    double last =
        pace == null
            ? 0
            : how.stepTokens(start.tokens()) * pace.token()
                + of.parts().measured(start.tokens()).size() * pace.batch();
    return outcome(
        of,
        start,
        training.run(
            start.tokens(), start.rate(), new Telling(progress, start, training, clock, last)),
        clock);
  }

  private HealStage.Outcome outcome(
      HealStage of, TrainingStart start, Distillation.Result result, Clock clock) {
    Distillation.Reached reached = result.reached();
    return new HealStage.Outcome(
        result.weights(),
        result.adapters(),
        new TrainingReport(
            start,
            reached.steps(),
            result.originalNll(),
            reached.measurements(),
            reached.best(),
            clock.seconds()),
        of.parts().measured(start.tokens()).stream().flatMap(List::stream).toList());
  }

  /**
   * Decides on tokens and learning rate.
   *
   * @param pace null where no time is given
   */
  private TrainingStart start(
      HealStage of, Distillation training, Distillation.@Nullable Pace pace) {
    HealSettings settings = of.settings();
    long tokens = pace == null ? of.wantedTokens() : tokens(of, pace);
    double rate;
    List<RateTrial> trials = List.of();
    if (settings.rate() == null) {
      Distillation.FoundRate found = training.findRate(tokens, listener::requireWanted);
      rate = found.rate();
      trials = found.trials();
      if (pace != null) {
        // Its last steps tell the pace better than the first step of all.
        tokens = tokens(of, pace.withToken(found.token()));
      }
    } else {
      rate = settings.rate();
    }
    return new TrainingStart(
        of.text().name(),
        Objects.requireNonNullElse(settings.samples(), 0L),
        tokens,
        training.steps(tokens),
        student.first(),
        trained(),
        training.parameters(),
        settings.lora(),
        rate,
        how.labels().share(),
        how.labels().ended(Math.ceilDiv(tokens, of.parts().tokens())),
        trials);
  }

  /** As many tokens as fit into a time with their measurements, at least those of one step. */
  private long tokens(HealStage of, Distillation.Pace pace) {
    double seconds = left();
    long tokens = 0;
    // More tokens have larger measurements, and more of them; this settles.
    for (int i = 0; i < 6; i++) {
      // The pace is that of a batch that need not be measured again before the first step.
      int batches = (how.measurements(tokens) + 1) * of.parts().measured(tokens).size() - 1;
      double left = (seconds - batches * pace.batch()) * MARGIN;
      tokens = Math.max(how.stepTokens(0), (long) (left / pace.token()));
    }
    return tokens;
  }

  /** Tells what happens, and keeps the state. */
  private final class Telling implements Distillation.Listener {
    private final JobProgress.Stage progress;
    private final TrainingStart start;
    private final Distillation training;
    private final Clock clock;
    private final double last;

    /**
     * Tells of a training.
     *
     * @param last seconds of the time without which another step is not begun; 0 where the training
     *     does not end by the time
     */
    Telling(
        JobProgress.Stage progress,
        TrainingStart start,
        Distillation training,
        Clock clock,
        double last) {
      this.progress = progress;
      this.start = start;
      this.training = training;
      this.clock = clock;
      this.last = last;
    }

    @Override
    public boolean timeIsUp() {
      return last > 0 && left() <= last;
    }

    @Override
    public void stepped(TrainingStep step) {
      listener.requireWanted();
      progress.update(step.tokens(), start.tokens());
      progress.note(
          String.format(
              Locale.ROOT, "step %d of %d, loss %.3f", step.number(), step.of(), step.loss()));
      listener.told(new HealEvent.Stepped(step));
    }

    @Override
    public void measured(TrainingMeasurement measurement) {
      listener.told(new HealEvent.HeldOutMeasured(measurement));
    }

    @Override
    public void keeping() {
      listener.keeping();
    }

    @Override
    public void kept(NewWeights weights) {
      listener.kept(weights);
    }

    @Override
    public void diverged(int step) {
      listener.warned(
          String.format(
              Locale.ROOT,
              "the training ended before step %d of %d, whose loss or gradients are not finite: the"
                  + " best weights so far are the result; train with %s below %.2g, or, where"
                  + " weights have 16 bits, with %s f32",
              step,
              start.steps(),
              Setting.of("rate"),
              start.rate(),
              Setting.of("compute")));
    }

    @Override
    public void reached(Supplier<Distillation.Reached> reached) {
      if (state != null) {
        state.keep(start, training, reached, clock.seconds());
      }
    }
  }
}
