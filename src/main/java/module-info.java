/**
 * LaCo, layer collapse: makes a large language model shallower.
 *
 * <p>{@link dev.laco.Model} opens a checkpoint; the jobs on a model are in {@link dev.laco.prune},
 * {@link dev.laco.compare}, {@link dev.laco.curve}, {@link dev.laco.analysis}, {@link
 * dev.laco.evaluate}, {@link dev.laco.heal} and {@link dev.laco.generate}. What is not exported may
 * change at any time.
 */
@SuppressWarnings("module") // The command line is built after the engine.
module dev.laco {
  requires static transitive org.jspecify;
  requires transitive com.fasterxml.jackson.databind;
  requires java.management;
  requires ai.djl.tokenizers;
  requires dev.hardwood.core;
  // Needed by those who call CUDA through JCuda.
  requires static jcuda;
  requires static jcublas;

  exports dev.laco;
  exports dev.laco.analysis;
  exports dev.laco.apply;
  exports dev.laco.checkpoint;
  exports dev.laco.checkpoint.export;
  exports dev.laco.checkpoint.gguf;
  exports dev.laco.checkpoint.table;
  exports dev.laco.collapse;
  exports dev.laco.compare;
  exports dev.laco.curve;
  exports dev.laco.evaluate;
  exports dev.laco.generate;
  exports dev.laco.heal;
  exports dev.laco.inspect;
  exports dev.laco.model;
  exports dev.laco.prune;
  exports dev.laco.report;

  // The command line alone changes what belongs to its process: descriptors, signals, faults.
  exports dev.laco.backend.cpu to
      dev.laco.cli;
  exports dev.laco.ffi to
      dev.laco.cli;
}
