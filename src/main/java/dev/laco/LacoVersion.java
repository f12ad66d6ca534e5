package dev.laco;

/** The version that the build wrote into the jar. */
public final class LacoVersion {
  private LacoVersion() {}

  /** {@code 1.2.3}, or {@code development} where there is no jar. */
  public static String number() {
    String version = LacoVersion.class.getPackage().getImplementationVersion();
    return version == null ? "development" : version;
  }

  /** The number behind the name, {@code laco 1.2.3}. */
  public static String text() {
    return "laco " + number();
  }
}
