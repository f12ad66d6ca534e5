/**
 * Charts as SVG, drawn without a library: those for Java draw through AWT, which needs fonts that a
 * GPU node does not have, and give pictures without names for screen readers.
 */
@NullMarked
package dev.laco.cli.chart;

import org.jspecify.annotations.NullMarked;
