@org.jspecify.annotations.NullMarked
package dev.laco.linalg;
