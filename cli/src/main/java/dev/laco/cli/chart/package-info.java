/** Charts as SVG, drawn without a library (docs/decisions/0009-charts-without-a-library.md). */
@NullMarked
package dev.laco.cli.chart;

import org.jspecify.annotations.NullMarked;
