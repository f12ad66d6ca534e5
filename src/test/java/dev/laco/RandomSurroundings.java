package dev.laco;

import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.TimeZone;
import org.junit.platform.launcher.LauncherSession;
import org.junit.platform.launcher.LauncherSessionListener;

/**
 * Runs all tests of a JVM under a random default locale and time zone, on which no result may
 * depend, where the build asks for that with {@code -Dlaco.test.seed=random}. Both follow from a
 * seed, which is printed; {@code -Dlaco.test.seed=N} repeats a run.
 */
public final class RandomSurroundings implements LauncherSessionListener {
  private static final String PROPERTY = "laco.test.seed";

  /** Other digits, another comma, another i without a dot, another year. */
  private static final List<String> LOCALES =
      List.of(
          "ar-EG",
          "fa-IR",
          "hi-IN-u-nu-deva",
          "my-MM",
          "tr-TR",
          "de-DE",
          "fr-CH",
          "th-TH-u-ca-buddhist-nu-thai",
          "en-US",
          "und");

  private static final List<String> ZONES =
      List.of(
          "UTC",
          "Pacific/Kiritimati",
          "Pacific/Pago_Pago",
          "Asia/Kathmandu",
          "America/St_Johns",
          "Europe/Berlin");

  @Override
  public void launcherSessionOpened(LauncherSession session) {
    IdleThreads.VARIABLES.forEach(IdleThreads::set);
    String asked = System.getProperty(PROPERTY);
    if (asked == null) {
      return;
    }
    long seed = asked.equals("random") ? System.nanoTime() : Long.parseLong(asked);
    SplittableRandom random = new SplittableRandom(seed);
    Locale locale = Locale.forLanguageTag(LOCALES.get(random.nextInt(LOCALES.size())));
    TimeZone zone = TimeZone.getTimeZone(ZONES.get(random.nextInt(ZONES.size())));
    Locale.setDefault(locale);
    TimeZone.setDefault(zone);
    System.out.println(
        "Tests run in locale "
            + (locale.equals(Locale.ROOT) ? "und" : locale.toLanguageTag())
            + " and time zone "
            + zone.getID()
            + ": -D"
            + PROPERTY
            + "="
            + seed);
  }
}
