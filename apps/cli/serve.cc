// vivace serve: pictures over HTTP.
#include <cstdio>
#include <cstdlib>

#include "base/cache_folder.h"
#include "base/joined.h"
#include "base/log.h"
#include "commands.h"
#include "interrupt.h"
#include "options.h"
#include "server.h"
#include "systemd.h"

namespace vivace::cli {
namespace {

struct ServeFlags {
  std::vector<std::string> models;
  PictureOptions picture;  // how they are loaded
  server::ServerOptions server;
  std::string preview_vae, model_memory, result_memory = "256M";
};

size_t memory(const std::string& text, const char* name) {
  const auto bytes = parse_bytes(text);
  if (!bytes) throw UsageError(cat(name, " is \"", text, "\": expected bytes, as 500M or 20G"));
  return static_cast<size_t>(*bytes);
}

void check(const ServeFlags& o) {
  const server::EngineLimits& engine = o.server.engine;
  if (o.server.port < 0 || o.server.port > 65535) throw UsageError(cat("--port is ", o.server.port, ": expected 1 to 65535, or 0 for any free one"));
  if (engine.queue < 1 || engine.queue_of_a_client < 1) throw UsageError("--queue and --queue-per-client: expected 1 or more jobs");
  if (engine.batch < 1 || engine.batch > 64) throw UsageError(cat("--batch is ", engine.batch, ": expected 1 to 64 pictures"));
  if (!(engine.preview_seconds >= 0) || !(engine.job_seconds >= 0) || !(o.server.result_seconds >= 0))
    throw UsageError("--preview-seconds, --job-seconds and --result-seconds: expected 0 or more");
}

std::shared_ptr<const AutoencoderTiny> preview_decoder(const ServeFlags& o) {
  if (o.preview_vae.empty()) return nullptr;
  const ModelOptions options{
      .dtype = parse_dtype(o.picture.dtype), .compile = o.picture.compile.options(), .cache = o.picture.cache.options(), .device = o.picture.device};
  return std::make_shared<const AutoencoderTiny>(AutoencoderTiny::from_pretrained(o.preview_vae, options));
}

int run_serve(const ServeFlags& o, const Common& common) {
  check(o);
  server::ServerOptions options = o.server;
  // The command line can be read by every user of the machine.
  if (const char* key = std::getenv("VIVACE_API_KEY"); key && options.api_key.empty()) options.api_key = key;
  if (const char* key = std::getenv("VIVACE_PRIORITY_KEY"); key && options.priority_key.empty()) options.priority_key = key;
  if (!o.model_memory.empty()) options.model_bytes = memory(o.model_memory, "--model-memory");
  options.result_bytes = memory(o.result_memory, "--result-memory");
  if (!common.quiet) options.log = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  const auto load = [&o](const std::string& folder, Task task) {
    PictureOptions picture = o.picture;
    picture.model = folder;
    picture.task = task;
    DiffusionPipeline pipe = picture.load();
    // So that those of a request come and go beside them.
    if (!picture.loras.empty()) pipe.fuse_lora();
    return pipe;
  };
  const std::vector<server::ModelEntry> models = server::model_entries(o.models.empty() ? std::vector{default_model()} : o.models);
  const Uninterrupted until_shut_down;
  options.preview_decoder = preview_decoder(o);
  options.socket = server::inherited_socket();
  server::Server server(options, models, load);
  const std::stop_callback on_signal(interruption(), [&] {
    server::notify("STOPPING=1");
    server.shutdown();
  });
  if (options.api_key.empty() && !server.on_loopback())
    warn("whoever reaches ", server.address(), " may draw: give --api-key, or --host 127.0.0.1 for this machine alone");
  if (!common.quiet) std::fprintf(stderr, "serving %s at %s\n", joined(models, ", ", &server::ModelEntry::name).c_str(), server.address().c_str());
  server::notify("READY=1");
  server.run();
  return 0;
}

}  // namespace

Command add_serve(Arguments& app, const Common& common) {
  auto o = std::make_shared<ServeFlags>();
  server::ServerOptions& server = o->server;
  Arguments* c = app.add_subcommand("serve", "Draw for others: OpenAI's images API and jobs, over HTTP");
  c->add_option("--host", server.host, "Address to listen on; 0.0.0.0: all of this machine's").show_default();
  c->add_option("--port", server.port, "0: any free one").show_default();
  c->add_option("--api-key", server.api_key, "A key that clients must send; default: the variable VIVACE_API_KEY, if it is set");
  c->add_option("--priority-key", server.priority_key,
                "A key whose holders may say how urgent a request is (Priority: u=0 to u=7); default: the variable VIVACE_PRIORITY_KEY");
  c->add_option("--cors-origin", server.cors_origins, "Pages of this origin may call, as https://example.org, or *; may be given several times");
  c->add_flag("--behind-proxy", server.behind_proxy, "Believe X-Forwarded-For and X-Forwarded-Proto");
  c->add_option("--queue", server.engine.queue, "Jobs that may wait").show_default();
  c->add_option("--queue-per-client", server.engine.queue_of_a_client, "Those of one client").show_default();
  c->add_option("--batch", server.engine.batch, "Pictures of requests that are alike and wait together which are drawn in one call").show_default();
  c->add_option("--job-seconds", server.engine.job_seconds, "The most that a job may take once it is begun; 0: as long as it takes").show_default();
  c->add_option("--preview-seconds", server.engine.preview_seconds, "The least between two previews").show_default();
  c->add_option("--job-store", server.job_store, "Redis, as redis://localhost:6379, by which several servers answer for all jobs");
  c->add_option("--report", server.report, "A page of `vivace bench --ladder` (HTML) that the server's own links to");
  c->add_option("--result-seconds", server.result_seconds, "How long results are kept").show_default();
  c->group(Group::model);
  c->add_option("--model", o->models, "Checkpoint folder, package or file, or NAME=PATH; may be given several times; the first is the default");
  o->picture.add_loading(*c);
  c->group(Group::model);
  c->add_option("--lora-dir", server.lora_folder, "A folder with adapters (.safetensors) that requests may name");
  c->add_option("--preview-vae", o->preview_vae, "A folder with an AutoencoderTiny (TAESD), which makes previews in full size");
  c->group(Group::memory);
  c->add_option("--model-memory", o->model_memory, "What loaded models may take, as 20G: those not used for longest go; default: no limit");
  c->add_option("--result-memory", o->result_memory, "What results that are kept may take").show_default();
  o->picture.cache.add(*c);
  return {c, [o, &common] { return run_serve(*o, common); }};
}

}  // namespace vivace::cli
