// JSON read by a receiver of events, where a tree of all values would take long.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace vivace {

// By the strict grammar; the receiver's parse_error() says what is wrong.
void read_json_events(std::string_view text, nlohmann::json::json_sax_t& receiver);

}  // namespace vivace
