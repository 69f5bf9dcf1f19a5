// What lies in Redis: of this server's making, another's, or anybody's.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "job.h"

namespace vivace::server {

// A picture with what is known of it before the bytes; nullptr for what is none.
std::string packed(const Picture& picture);
std::shared_ptr<const Picture> unpacked(std::string_view text);

// A job's status, and what makes it again, with the types that they have here; null for what is none.
nlohmann::json status_in(std::string_view text);
nlohmann::json order_in(std::string_view text);

bool has_ended(const nlohmann::json& status);
void set_failed(nlohmann::json& status, const Failure& failure);

}  // namespace vivace::server
