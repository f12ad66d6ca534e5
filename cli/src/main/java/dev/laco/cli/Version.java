package dev.laco.cli;

import dev.laco.LacoVersion;
import picocli.CommandLine.IVersionProvider;

/** The version, for {@code --version}. */
final class Version implements IVersionProvider {
  @Override
  public String[] getVersion() {
    return new String[] {LacoVersion.text()};
  }
}
