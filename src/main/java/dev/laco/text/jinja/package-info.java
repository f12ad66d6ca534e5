/**
 * Runs the templates of chats that come with models: the part of Jinja 3 that transformers gives
 * them, with Python's values. A template is a program of somebody else: its steps, its nesting and
 * its output are bounded, and it reaches nothing but the values it is given.
 */
@NullMarked
package dev.laco.text.jinja;

import org.jspecify.annotations.NullMarked;
