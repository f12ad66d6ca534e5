package dev.laco.cli;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.IHelpSectionRenderer;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.UsageMessageSpec;

/** The groups of options in the help of a command, in the order in which they are printed. */
enum HelpSection {
  GENERATE("Generate"),
  SIZE("How far"),
  TIME("How long"),
  RULE("By which rule"),
  SEARCH("Search"),
  FIT("Fit"),
  HEAL("Heal"),
  MEASURE("Measure"),
  OUTPUT("Output"),
  DEVICE("Device"),
  HELP("Help");

  private static final String PARAMETERS = "What";

  private final String heading;

  HelpSection(String heading) {
    this.heading = heading;
  }

  /** The group of an option, or of all options that a class declares. */
  @Retention(RetentionPolicy.RUNTIME)
  @Target({ElementType.TYPE, ElementType.FIELD})
  @interface In {
    HelpSection value();
  }

  /** Lets a command and its subcommands print their help in groups. */
  static void use(CommandLine command) {
    Map<String, IHelpSectionRenderer> sections = new HashMap<>(command.getHelpSectionMap());
    sections.put(
        UsageMessageSpec.SECTION_KEY_PARAMETER_LIST_HEADING,
        help ->
            help.commandSpec().positionalParameters().isEmpty() ? "" : heading(help, PARAMETERS));
    sections.put(UsageMessageSpec.SECTION_KEY_OPTION_LIST, HelpSection::options);
    command.setHelpSectionMap(sections);
  }

  private static String options(Help help) {
    StringBuilder text = new StringBuilder();
    for (HelpSection section : values()) {
      List<OptionSpec> options = new ArrayList<>(help.commandSpec().options());
      options.removeIf(option -> of(option) != section);
      if (!options.isEmpty()) {
        Help.Layout layout = help.createDefaultLayout(options, List.of(), help.colorScheme());
        layout.addOptions(options, help.parameterLabelRenderer());
        text.append(heading(help, section.heading)).append(layout);
        if (section == RULE) {
          text.append(Rules.table());
        }
      }
    }
    return text.toString();
  }

  private static String heading(Help help, String heading) {
    return help.createHeading("%n%s:%n", heading);
  }

  private static HelpSection of(OptionSpec option) {
    if (!(option.userObject() instanceof Field field)) {
      return HELP;
    }
    In in = field.getAnnotation(In.class);
    in = in != null ? in : field.getDeclaringClass().getAnnotation(In.class);
    return in == null ? HELP : in.value();
  }
}
