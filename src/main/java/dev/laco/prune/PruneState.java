package dev.laco.prune;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import dev.laco.InputJson;
import dev.laco.Request;
import dev.laco.apply.PlanTensors;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import dev.laco.heal.HealState;
import dev.laco.report.ChoiceReport;
import dev.laco.report.FitReport;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** What a prune keeps of search and fit while it trains, so that a repeat goes on from there. */
final class PruneState {
  private static final JsonMapper MAPPER =
      JsonMapper.builder()
          .addModule(
              new SimpleModule()
                  .addSerializer(CollapsePlan.class, new PlanWriter())
                  .addDeserializer(CollapsePlan.class, new PlanReader()))
          .build();

  private PruneState() {}

  /** A {@link FittedModel} without its tensors, which the plan names. */
  private record Kept(
      ObjectNode request,
      SearchResult found,
      Work work,
      CollapsePlan plan,
      @Nullable FitReport fit,
      @Nullable ChoiceReport choice,
      double searchSeconds,
      double fitSeconds) {}

  /**
   * What an earlier run of the same job left.
   *
   * @param request with the rule and the budget of the search that were chosen by the time
   */
  record Earlier(PruneRequest request, FittedModel model) implements AutoCloseable {
    @Override
    public void close() {
      model.tensors().close();
    }
  }

  /** Keeps a model that is about to be trained. */
  static void write(HealState state, PruneRequest request, FittedModel model) {
    state.keepFitted(
        model.tensors(),
        tensors ->
            MAPPER.valueToTree(
                new Kept(
                    request.toJson(),
                    model.found(),
                    model.work(),
                    model.plan().withTensors(model.tensors().named(tensors)),
                    model.fit(),
                    model.choice(),
                    model.searchSeconds(),
                    model.fitSeconds())));
  }

  /**
   * Reads what {@link #write} kept; empty where there is nothing.
   *
   * @throws dev.laco.UsageException if the state is that of another job
   * @throws dev.laco.BadInputException if what is there is damaged
   */
  static Optional<Earlier> read(HealState state, Checkpoint checkpoint) {
    return state.fitted().map(json -> earlier(state.fittedFile(), json, checkpoint));
  }

  private static Earlier earlier(Path file, JsonNode json, Checkpoint checkpoint) {
    Kept kept;
    try {
      kept = MAPPER.treeToValue(json, Kept.class);
    } catch (JsonProcessingException e) {
      throw InputJson.error(file.toString(), e);
    }
    PlanTensors tensors = PlanTensors.beside(file, kept.plan);
    try {
      new GivenPlan(file, kept.plan, tensors).requireFor(checkpoint);
    } catch (RuntimeException e) {
      tensors.close();
      throw e;
    }
    return new Earlier(
        Request.parse(file.toString(), kept.request, PruneRequest.class),
        new FittedModel(
            kept.found,
            kept.work,
            kept.plan.withTensors(null),
            tensors,
            kept.fit,
            kept.choice,
            kept.searchSeconds,
            kept.fitSeconds));
  }

  private static final class PlanWriter extends StdSerializer<CollapsePlan> {
    private static final long serialVersionUID = 1L;

    PlanWriter() {
      super(CollapsePlan.class);
    }

    @Override
    public void serialize(CollapsePlan plan, JsonGenerator to, SerializerProvider provider)
        throws IOException {
      to.writeTree(plan.toJson());
    }
  }

  private static final class PlanReader extends StdDeserializer<CollapsePlan> {
    private static final long serialVersionUID = 1L;

    PlanReader() {
      super(CollapsePlan.class);
    }

    @Override
    public CollapsePlan deserialize(JsonParser from, DeserializationContext context)
        throws IOException {
      return CollapsePlan.parse("plan", from.readValueAsTree().toString());
    }
  }
}
