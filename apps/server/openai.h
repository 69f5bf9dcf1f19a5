// OpenAI's images API: what a request says beside what is drawn, and how it is answered.
#pragma once

#include <memory>
#include <string>

#include "service.h"

namespace vivace::server {

struct OpenAiSettings {
  std::string quality, response_format;
  bool stream = false;
};

// All pictures at once, at the end.
void answer_whole(Exchange& exchange, const std::shared_ptr<Job>& job, const OpenAiSettings& settings);
// image_generation.partial_image and image_generation.completed, or image_edit.*, as they come.
void answer_events(Exchange& exchange, const std::shared_ptr<Job>& job, const OpenAiSettings& settings);

}  // namespace vivace::server
