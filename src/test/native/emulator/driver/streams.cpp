// Streams and events.
#include <algorithm>

#include "driver.hpp"

using standin::driver;
using standin::refuse;
using standin::with_context;

namespace {

CUresult with_stream(const char* name, CUstream stream,
                     const std::function<CUresult(CUctx_st&, CUstream_st&)>& action) {
  return with_context(name, [&](CUctx_st& context) -> CUresult {
    const CUstream found = standin::find_stream(context, stream);
    return found != nullptr ? action(context, *found)
                            : standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no stream", static_cast<void*>(stream)));
  });
}

bool is_event(const CUctx_st& context, CUevent event) {
  return std::any_of(context.events.begin(), context.events.end(),
                     [&](const auto& one) { return one.get() == event && !one->destroyed; });
}

CUresult with_event(const char* name, CUevent event,
                    const std::function<CUresult(CUctx_st&, CUevent_st&)>& action) {
  return with_context(name, [&](CUctx_st& context) -> CUresult {
    return is_event(context, event)
               ? action(context, *event)
               : standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no event", static_cast<void*>(event)));
  });
}

// After the device came to a point that the host waited for: a good moment to look at its memory.
CUresult synchronized(CUctx_st& context) {
  if (context.sticky == CUDA_SUCCESS && !driver().counts_only) {
    if (const std::string problem = context.memory.check_zones(); !problem.empty()) {
      context.sticky = refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "%s", problem.c_str());
    }
  }
  return context.sticky;
}

}  // namespace

CUresult cuCtxSynchronize() {
  return with_context("cuCtxSynchronize", [](CUctx_st& context) {
    standin::wait_for_all(context);
    return synchronized(context);
  });
}

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
  return with_context("cuStreamCreate", [&](CUctx_st& context) -> CUresult {
    if (flags > CU_STREAM_NON_BLOCKING) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "flags %u", flags);
    }
    *stream = context.streams.emplace_back(std::make_unique<CUstream_st>()).get();
    (*stream)->blocking = flags == 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  return with_stream("cuStreamDestroy_v2", stream, [&](CUctx_st& context, CUstream_st& found) -> CUresult {
    if (stream == nullptr) {
      return refuse(CUDA_ERROR_INVALID_HANDLE, "the default stream is not to be destroyed");
    }
    standin::run_until(context, found, found.queued());
    found.destroyed = true;
    return context.sticky;
  });
}

CUresult cuStreamSynchronize(CUstream stream) {
  return with_stream("cuStreamSynchronize", stream, [](CUctx_st& context, CUstream_st& found) -> CUresult {
    if (found.capturing != nullptr) {
      return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream captures: nothing is done that could be waited for");
    }
    standin::wait_until(context, found, found.queued());
    return synchronized(context);
  });
}

// Asking lets the device do one step, so that who asks until it is done comes to an end.
CUresult cuStreamQuery(CUstream stream) {
  return with_stream("cuStreamQuery", stream, [](CUctx_st& context, CUstream_st& found) -> CUresult {
    if (found.queue.empty()) {
      return CUDA_SUCCESS;
    }
    const CUresult status = standin::run_until(context, found, found.done + 1);
    return status != CUDA_SUCCESS ? status : CUDA_ERROR_NOT_READY;
  });
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  return with_stream("cuStreamWaitEvent", stream, [&](CUctx_st& context, CUstream_st& found) -> CUresult {
    if (!is_event(context, event)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no event", static_cast<void*>(event)));
    }
    if (flags != 0) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "flags %u", flags);
    }
    if (event->stream == nullptr) {
      return CUDA_SUCCESS;  // never recorded: nothing to wait for
    }
    // What was recorded by now counts, whatever the event is used for later.
    const auto wait = [&context, other = event->stream, position = event->position] {
      return standin::run_until(context, *other, position);
    };
    return standin::enqueue(context, found, {wait});
  });
}

CUresult cuEventCreate(CUevent* event, unsigned flags) {
  return with_context("cuEventCreate", [&](CUctx_st& context) -> CUresult {
    if (flags > 3) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "flags %u", flags);
    }
    *event = context.events.emplace_back(std::make_unique<CUevent_st>()).get();
    (*event)->timing = (flags & CU_EVENT_DISABLE_TIMING) == 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuEventDestroy_v2(CUevent event) {
  return with_event("cuEventDestroy_v2", event, [](CUctx_st&, CUevent_st& found) {
    found.destroyed = true;
    return CUDA_SUCCESS;
  });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  return with_stream("cuEventRecord", stream, [&](CUctx_st& context, CUstream_st& found) -> CUresult {
    if (!is_event(context, event)) {
      return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no event", static_cast<void*>(event)));
    }
    if (found.capturing != nullptr) {
      return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stand-in captures no events");
    }
    event->stream = &found;
    event->position = found.queued() + 1;
    const auto record = [event] {
      event->time = std::chrono::steady_clock::now();
      return CUDA_SUCCESS;
    };
    return standin::enqueue(context, found, {record});
  });
}

CUresult cuEventSynchronize(CUevent event) {
  return with_event("cuEventSynchronize", event, [](CUctx_st& context, CUevent_st& found) {
    if (found.stream != nullptr) {
      standin::wait_until(context, *found.stream, found.position);
    }
    return synchronized(context);
  });
}

CUresult cuEventQuery(CUevent event) {
  return with_event("cuEventQuery", event, [](CUctx_st& context, CUevent_st& found) -> CUresult {
    if (found.stream == nullptr || found.stream->done >= found.position) {
      return CUDA_SUCCESS;
    }
    const CUresult status = standin::run_until(context, *found.stream, found.stream->done + 1);
    return status != CUDA_SUCCESS ? status : CUDA_ERROR_NOT_READY;
  });
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return with_context("cuEventElapsedTime", [&](CUctx_st& context) -> CUresult {
    for (const CUevent event : {start, end}) {
      if (!is_event(context, event) || !event->timing || event->stream == nullptr) {
        return refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no recorded event that takes the time", static_cast<void*>(event));
      }
      if (event->stream->done < event->position) {
        return CUDA_ERROR_NOT_READY;
      }
    }
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return CUDA_SUCCESS;
  });
}

namespace {

template <class Graph>
Graph* find(const std::vector<std::unique_ptr<Graph>>& all, const Graph* graph) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.get() == graph; });
  return found == all.end() || (*found)->destroyed ? nullptr : found->get();
}

CUresult no_graph(const void* graph) {
  return standin::wild(refuse(CUDA_ERROR_INVALID_HANDLE, "%p is no graph", graph));
}

}  // namespace

CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
  return with_stream("cuStreamBeginCapture_v2", stream, [&](CUctx_st& context, CUstream_st& found) -> CUresult {
    if (stream == nullptr || found.capturing != nullptr || mode < 0 || mode > 2) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "the default stream, one that captures already, or mode %d", mode);
    }
    found.capturing = context.graphs.emplace_back(std::make_unique<CUgraph_st>()).get();
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  return with_stream("cuStreamEndCapture", stream, [&](CUctx_st&, CUstream_st& found) -> CUresult {
    if (found.capturing == nullptr) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "the stream does not capture");
    }
    *graph = found.capturing;
    found.capturing = nullptr;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, uint64_t flags) {
  return with_context("cuGraphInstantiateWithFlags", [&](CUctx_st& context) -> CUresult {
    const CUgraph found = find(context.graphs, graph);
    if (found == nullptr) {
      return no_graph(graph);
    }
    if (flags != 0) {
      return refuse(CUDA_ERROR_INVALID_VALUE, "flags %llu", static_cast<unsigned long long>(flags));
    }
    *executable = context.executables.emplace_back(std::make_unique<CUgraphExec_st>()).get();
    (*executable)->operations = found->operations;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return with_stream("cuGraphLaunch", stream, [&](CUctx_st& context, CUstream_st& found) -> CUresult {
    const CUgraphExec graph = find(context.executables, executable);
    if (graph == nullptr) {
      return no_graph(executable);
    }
    CUresult status = CUDA_SUCCESS;
    for (const standin::Operation& operation : graph->operations) {
      status = status == CUDA_SUCCESS ? standin::enqueue(context, found, operation) : status;
    }
    return status;
  });
}

CUresult cuGraphDestroy(CUgraph graph) {
  return with_context("cuGraphDestroy", [&](CUctx_st& context) -> CUresult {
    const CUgraph found = find(context.graphs, graph);
    if (found == nullptr) {
      return no_graph(graph);
    }
    found->destroyed = true;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphExecDestroy(CUgraphExec executable) {
  return with_context("cuGraphExecDestroy", [&](CUctx_st& context) -> CUresult {
    const CUgraphExec found = find(context.executables, executable);
    if (found == nullptr) {
      return no_graph(executable);
    }
    found->destroyed = true;
    return CUDA_SUCCESS;
  });
}
