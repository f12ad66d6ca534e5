/** The command line of laco. */
module dev.laco.cli {
  requires static org.jspecify;
  requires dev.laco;
  requires com.samskivert.jmustache;
  requires info.picocli;
  requires jdk.unsupported;
  requires org.snakeyaml.engine;

  opens dev.laco.cli to
      info.picocli;
}
