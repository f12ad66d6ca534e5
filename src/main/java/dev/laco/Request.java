package dev.laco;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;

/**
 * What a job is asked for: a record, equal to another one that asks for the same, which can be
 * written as JSON and read from JSON. The JSON leaves out what the request leaves to defaults:
 * {@code {"goal":{"layers":24},"search":{},"fit":{},"texts":{}}} asks a prune for 24 layers and for
 * nothing else.
 */
public interface Request {
  /** The request as JSON, which {@link #parse} reads. */
  default ObjectNode toJson() {
    return RequestJson.write(this);
  }

  /**
   * Reads a request from a JSON file. Relative paths in the file are those of the working folder.
   *
   * @param type the kind of request
   * @throws BadInputException that names the file, the key, what was expected and what was found
   */
  static <R extends Request> R read(Path file, Class<R> type) {
    return parse(file.toString(), InputJson.readObject(file), type);
  }

  /**
   * Reads a request from JSON.
   *
   * @param where names the JSON in errors
   * @param type the kind of request
   * @throws BadInputException that names the key, what was expected and what was found
   */
  static <R extends Request> R parse(String where, ObjectNode json, Class<R> type) {
    return RequestJson.parse(where, json, type);
  }
}
