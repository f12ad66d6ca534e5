package dev.laco;

/** The version of the engine, which the build writes into the jar. */
public final class LacoVersion {
  private LacoVersion() {}

  /** The number: {@code 1.2.3}, or {@code development} where the classes are not in a jar. */
  public static String number() {
    String version = LacoVersion.class.getPackage().getImplementationVersion();
    return version == null ? "development" : version;
  }

  /** Name and number: {@code laco 1.2.3}. */
  public static String text() {
    return "laco " + number();
  }
}
